// The memories that freeze/ offers to walkers: a guest's RAM as it is now, and as it was at a snapshot.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "freeze/snapshot.hpp"
#include "freeze/snapshot_ring.hpp"
#include "vmm/ram.hpp"
#include "walkers/memory.hpp"

namespace floe::freeze {

// A ring snapshot. Keeps nothing: view and layout outlive it. populated() lists the pages that are not zero pages. Of one that is not
// whole, the pages that were not captured are unreadable.
class RingMemory final : public walkers::Memory {
 public:
  RingMemory(const SnapshotView& view, const RamLayout& layout) : view_(view), layout_(layout), places_(kPlaces) {}
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  bool prefetch(Gpa gpa, std::size_t bytes) const override;  // of pages that were read before, and are not compressed
  std::vector<walkers::PhysRange> populated() const override;

 private:
  static constexpr std::size_t kPlaces = 4096;
  static constexpr std::uint64_t tag(std::uint32_t page) { return (std::uint64_t{page} + 1) << 32; }

  const SnapshotView& view_;
  const RamLayout& layout_;
  mutable std::vector<std::atomic<std::uint64_t>> places_;  // by the low bits of the page index: its tag, and where it was last
};

// The guest's RAM itself, running or parked. While it runs, an aligned word of 8 bytes or less is read in one piece, anything longer
// may be torn. A page that the guest never touched reads as zeroes without coming into being (reading a hole of a shared mapping would
// allocate it): the first read of a page asks the kernel whether it exists, later ones do not. Any number of threads may read.
class LiveMemory final : public walkers::Memory {
 public:
  explicit LiveMemory(const vmm::GuestRam& ram);
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  bool prefetch(Gpa gpa, std::size_t bytes) const override;  // of a hole it creates nothing either
  std::vector<walkers::PhysRange> populated() const override;

 private:
  bool exists(std::uint64_t page) const;

  const vmm::GuestRam& ram_;
  mutable std::vector<std::atomic<std::uint64_t>> known_;  // pages that are known to exist
};

// Copies from memory that somebody else may be writing: aligned words by relaxed atomic loads.
void copy_volatile(std::span<std::byte> out, const std::byte* from);

// Ranges [gpa, bytes) of the pages for which `has(page index)` holds, sorted and merged within a slot.
template <class Has>
std::vector<walkers::PhysRange> ranges_of(const RamLayout& layout, Has has) {
  std::vector<walkers::PhysRange> ranges;
  for (const RamSlot& slot : layout.slots()) {
    const std::uint64_t pages = slot.bytes / kPageBytes;
    for (std::uint64_t n = 0; n < pages; ++n) {
      if (!has(static_cast<std::uint32_t>(slot.first_page + n))) continue;
      const std::uint64_t first = n;
      while (n < pages && has(static_cast<std::uint32_t>(slot.first_page + n))) ++n;
      ranges.push_back({slot.start + first * kPageBytes, (n - first) * kPageBytes});
    }
  }
  return ranges;
}

}  // namespace floe::freeze
