// What the renderer asks of a scheduler's arena: the bytes behind a pointer, and whose memory that is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/bpf/allocators.hpp"
#include "walkers/bpf/arena.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/render/pointers.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::bpf {

class ArenaIndex final : public render::PointerSource {
 public:
  struct Pool {
    std::string name;
    std::uint64_t elem_size;
    std::uint32_t header_bytes;
    render::TypeRef payload;
  };

  explicit ArenaIndex(const KernelMemory& memory) : memory_(&memory) {}

  void set_arena(Arena arena) { arena_ = arena; }
  const std::optional<Arena>& arena() const { return arena_; }

  // Slots are found by the low 32 bits of their addresses, which is what pointers into an arena agree in: only where user_vm_start has
  // none of them set.
  void add(const SdtPool& pool);
  void add(const ScxStatic& areas) { areas_ = areas.ranges; }
  // A BTF in which declared types may be complete.
  void add(std::shared_ptr<const render::TypeTable> types) { tables_.push_back(std::move(types)); }

  std::uint64_t arena_start() const override { return arena_ ? arena_->user_vm_start() : 0; }
  std::size_t read_arena(std::uint64_t user_address, std::span<std::byte> out) const override {
    return arena_ ? arena_->read(*memory_, user_address, out) : 0;
  }
  std::size_t read_kernel(Kva address, std::span<std::byte> out) const override { return memory_->read(address, out); }
  bool is_listed(std::uint64_t user_address) const override;
  std::optional<render::ArenaSlot> slot(std::uint64_t user_address) const override;
  std::optional<render::TypeRef> sole_payload() const override;
  bool is_untyped(std::uint64_t user_address) const override;
  std::optional<render::TypeRef> complete_type(std::string_view name, bool is_union) const override;

  // The allocator that the pointers in a map most likely are of: the only one, or that of the longest stem the map's name contains. Null
  // where that does not tell.
  const Pool* pool_for(std::string_view map_name) const;

 private:
  struct Slot {
    std::uint32_t start;
    std::uint32_t pool;
  };
  const Slot* find(std::uint64_t user_address) const;

  const KernelMemory* memory_;
  std::optional<Arena> arena_;
  std::vector<Pool> pools_;
  std::vector<Slot> slots_;  // by start
  std::vector<ScxStaticRange> areas_;
  std::vector<std::shared_ptr<const render::TypeTable>> tables_;
};

}  // namespace floe::walkers::bpf
