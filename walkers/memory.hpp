// What every walker reads through: the bytes of a guest at an instant (or, for a live one, at no particular instant).
//
// A Memory serves guest-physical bytes and says what it could not read; it knows nothing of page tables, kernels or VMs.
// Kernel-virtual reads are built over it by KernelMemory (kernel_memory.hpp), which a source that is addressed by virtual
// address in the first place (/proc/kcore) can also implement directly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/address.hpp"

namespace floe::walkers {

// [start, start + bytes) of guest-physical address space.
struct PhysRange {
  Gpa start;
  std::uint64_t bytes = 0;
};

class Memory {
 public:
  virtual ~Memory() = default;

  // Copies from `gpa` on into `out` and returns how many bytes were readable from the start of it: out.size() when all were,
  // 0 when `gpa` itself is not RAM. Never faults, whatever the address.
  virtual std::size_t read(Gpa gpa, std::span<std::byte> out) const = 0;

  // The parts of RAM that may hold anything but zeroes, sorted and disjoint. A scan walks these and nothing else, so that
  // scanning never populates the holes of a sparse guest.
  virtual std::vector<PhysRange> populated() const = 0;
};

}  // namespace floe::walkers
