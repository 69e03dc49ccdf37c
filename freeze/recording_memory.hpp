// Which pages does a walk read? A Memory that passes every read on and notes the pages: what a later snapshot has to have at least, when
// not everything fits (snapshotter.hpp). It counts what was asked for and not there too, which says what such a snapshot cost.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "freeze/snapshot.hpp"
#include "walkers/memory.hpp"

namespace floe::freeze {

class RecordingMemory final : public walkers::Memory {
 public:
  // Both outlive it. Any number of threads may read.
  RecordingMemory(const walkers::Memory& memory, const RamLayout& layout);

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  bool prefetch(Gpa gpa, std::size_t bytes) const override { return memory_.prefetch(gpa, bytes); }
  std::vector<walkers::PhysRange> populated() const override { return memory_.populated(); }

  // One bit a page, by page index.
  std::vector<std::uint64_t> pages() const;
  // Reads of RAM that gave less than was asked for.
  std::uint64_t missed() const { return missed_.load(std::memory_order_relaxed); }

 private:
  const walkers::Memory& memory_;
  const RamLayout& layout_;
  mutable std::vector<std::atomic<std::uint64_t>> read_;
  mutable std::atomic<std::uint64_t> missed_{0};
};

}  // namespace floe::freeze
