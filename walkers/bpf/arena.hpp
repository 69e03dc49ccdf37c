// A BPF arena: memory that programs and user space share, up to 4 GiB, of which only pages somebody touched exist.
//
// The kernel has all of it mapped at kern_vm_start, by the low 32 bits of the user address: kern_vm_start + (u32)user_address. That is
// kern_vm->addr and half a guard, for an instruction's 16-bit offset may lead below or above (kernel/bpf/arena.c).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/budget.hpp"

namespace floe::walkers::bpf {

class Arena {
 public:
  // Error: the map is no arena, or the kernel's BTF has no struct bpf_arena. An arena whose kernel side cannot be found has kern_vm_start()
  // 0 and yields no bytes.
  static Result<Arena> open(const MapReader& reader, const MapInfo& map);

  std::uint64_t user_vm_start() const { return user_vm_start_; }
  std::uint64_t kern_vm_start() const { return kern_vm_start_; }
  std::uint64_t declared_bytes() const { return bytes_; }

  // Copies from a user address on; pages need not be neighbours. How many bytes were readable from the start.
  std::size_t read(const KernelMemory& memory, std::uint64_t user_address, std::span<std::byte> out) const;

  // Where the kernel has it.
  Kva kernel_address(std::uint64_t user_address) const { return Kva(kern_vm_start_) + static_cast<std::uint32_t>(user_address); }

  // The pages that exist, in order, at most limits.arena_pages of them and limits.bytes; a page that only stands in for one that was never
  // allocated is none. `truncated` when there are more.
  ArenaSnapshot snapshot(const Kernel& kernel, const MapLimits& limits, WalkBudget& budget) const;

 private:
  std::uint64_t user_vm_start_ = 0;
  std::uint64_t kern_vm_start_ = 0;
  std::uint64_t declared_pages_ = 0;
  std::uint64_t bytes_ = 0;  // of the span, at most 4 GiB
  std::optional<Gpa> scratch_;
};

}  // namespace floe::walkers::bpf
