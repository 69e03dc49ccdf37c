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

  // These bytes are read soon. A memory that knows where they are at hand asks for their cache lines; false: it does nothing. Any address
  // is allowed.
  virtual bool prefetch(Gpa /*gpa*/, std::size_t /*bytes*/) const { return false; }

  // The parts of RAM that may hold anything but zeroes, sorted and disjoint. A scan walks these and nothing else, so that
  // scanning never populates the holes of a sparse guest.
  virtual std::vector<PhysRange> populated() const = 0;
};

// For memories whose bytes are in this process: asks for the lines of `bytes` bytes, a handful of them at most.
inline void prefetch_lines(const std::byte* at, std::size_t bytes) {
  constexpr std::size_t kLine = 64, kMostBytes = 1024;
  const auto first = reinterpret_cast<std::uintptr_t>(at) / kLine * kLine;
  const auto end = reinterpret_cast<std::uintptr_t>(at) + (bytes < kMostBytes ? bytes : kMostBytes);
  for (auto line = first; line < end; line += kLine) __builtin_prefetch(reinterpret_cast<const void*>(line));
}

}  // namespace floe::walkers
