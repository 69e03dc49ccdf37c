// What a scheduler keeps in its arena, found through its own variables.
//
// struct scx_allocator hands out slots of one size, each a header (struct sdt_data: number and generation) and a payload. They hang on a
// tree of three levels of 512: scx_allocator.root -> sdt_desc -> sdt_chunk.descs[] ... -> sdt_chunk.data[]. In a leaf's sdt_desc.allocated
// a bit says that the slot is in use; in the levels above it says that everything below is full, so every child there is followed.
//
// struct scx_static hands out bytes of one area from the start on and keeps no types.
//
// Both are laid out as the program's own BTF has them. Pointers are arena addresses, of which the low 32 bits count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "walkers/bpf/arena.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/bpf/section.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/render/pointers.hpp"

namespace floe::walkers::bpf {

inline constexpr std::uint64_t kSmallestSlot = 16, kLargestSlot = 4096;  // bytes; an allocator that says otherwise is not followed

struct SdtSlot {
  std::int32_t idx = 0;
  std::int32_t genn = 0;
  std::uint64_t user_address = 0;  // of the slot's start
};

struct SdtPool {
  std::string name;  // of the variable
  std::uint64_t elem_size = 0;
  std::uint32_t header_bytes = 0;
  render::TypeRef payload;     // id 0: not known
  std::string payload_reason;  // why
  std::vector<SdtSlot> slots;
  bool truncated = false;
  std::uint32_t skipped_subtrees = 0;
};

// Every scx_allocator of the section that has slots or at least a slot size. Error: the program's BTF has no struct scx_allocator, or
// lacks what its tree is made of.
Result<std::vector<SdtPool>> find_allocators(const Section& section, const Arena& arena, const KernelMemory& memory,
                                             const MapLimits& limits, WalkBudget& budget);

// Every scx_static of the section; one that makes no sense is counted in `skipped`.
ScxStatic find_static_areas(const Section& section);

// "task" of "scx_task_allocator".
std::string_view allocator_stem(std::string_view name);

// The struct of the program that a payload of that size most likely is: the only one of that size, else the only one of them whose name
// has the allocator's stem, else by the names schedulers use. Id 0 and a reason when that leaves none or several.
struct PayloadType {
  std::uint32_t id = 0;
  std::string reason;
};
PayloadType payload_type(const render::TypeTable& types, std::string_view allocator, std::uint64_t payload_bytes);

}  // namespace floe::walkers::bpf
