#include "freeze/snapshot_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace floe::freeze {

std::size_t RingMemory::read(Gpa gpa, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    std::uint32_t page = 0;
    if (layout_.find(gpa + done, page) == 0) break;
    const std::size_t offset = (gpa.value + done) % kPageBytes;
    const std::size_t part = std::min(out.size() - done, kPageBytes - offset);
    PageStore::Place place = PageStore::kNoPlace;
    if (!view_.read(page, offset, out.subspan(done, part), &place)) break;
    auto& known = places_[page % places_.size()];
    if (const auto now = tag(page) | place; place != PageStore::kNoPlace && known.load(std::memory_order_relaxed) != now)
      known.store(now, std::memory_order_relaxed);
    done += part;
  }
  return done;
}

bool RingMemory::prefetch(Gpa gpa, std::size_t bytes) const {
  std::uint32_t page = 0;
  if (layout_.find(gpa, page) == 0) return false;
  const std::uint64_t known = places_[page % places_.size()].load(std::memory_order_relaxed);
  if ((known & ~std::uint64_t{0xffff'ffff}) != tag(page)) return false;
  view_.prefetch(static_cast<PageStore::Place>(known), gpa.value % kPageBytes, bytes);
  return true;
}

std::vector<walkers::PhysRange> RingMemory::populated() const {
  const auto table = view_.table();
  return ranges_of(layout_,
                   [table](std::uint32_t page) { return page < table.size() && table[page] != kZeroPage && table[page] != kAbsentPage; });
}

void copy_volatile(std::span<std::byte> out, const std::byte* from) {
  std::size_t at = 0;
  const auto load = [&]<class Word>(Word) {
    const Word word = __atomic_load_n(reinterpret_cast<const Word*>(from + at), __ATOMIC_RELAXED);
    std::memcpy(out.data() + at, &word, sizeof word);
    at += sizeof word;
  };
  const auto fits = [&](std::size_t bytes) { return out.size() - at >= bytes && reinterpret_cast<std::uintptr_t>(from + at) % bytes == 0; };
  while (at < out.size()) {
    if (fits(8))
      load(std::uint64_t{});
    else if (fits(4))
      load(std::uint32_t{});
    else if (fits(2))
      load(std::uint16_t{});
    else
      load(std::uint8_t{});
  }
}

LiveMemory::LiveMemory(const vmm::GuestRam& ram) : ram_(ram), known_((ram.pages() + 63) / 64) {}

bool LiveMemory::exists(std::uint64_t page) const {
  auto& word = known_[page / 64];
  const std::uint64_t bit = std::uint64_t{1} << (page % 64);
  if (word.load(std::memory_order_relaxed) & bit) return true;
  const auto offset = static_cast<off_t>(page * kPageBytes);
  if (::lseek(ram_.fd(), offset, SEEK_DATA) != offset) return false;
  word.fetch_or(bit, std::memory_order_relaxed);
  return true;
}

std::size_t LiveMemory::read(Gpa gpa, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    std::uint64_t page = 0;
    if (!ram_.page_index(gpa + done, page)) break;
    const std::size_t offset = (gpa.value + done) % kPageBytes;
    const auto part = out.subspan(done, std::min(out.size() - done, kPageBytes - offset));
    if (exists(page))
      copy_volatile(part, ram_.page(page) + offset);
    else
      std::fill(part.begin(), part.end(), std::byte{0});
    done += part.size();
  }
  return done;
}

bool LiveMemory::prefetch(Gpa gpa, std::size_t bytes) const {
  std::uint64_t page = 0;
  const std::size_t offset = gpa.value % kPageBytes;
  if (!ram_.page_index(gpa, page)) return false;
  walkers::prefetch_lines(ram_.page(page) + offset, std::min(bytes, kPageBytes - offset));
  return true;
}

std::vector<walkers::PhysRange> LiveMemory::populated() const {
  std::vector<walkers::PhysRange> ranges;
  for (const vmm::GuestRam::PageRange& range : ram_.populated()) {
    // A range may run across the hole below 4 GiB: cut it where the pages stop following on each other in guest-physical space.
    for (std::uint64_t first = range.first, left = range.count; left > 0;) {
      const Gpa start = ram_.page_gpa(first);
      std::uint64_t count = 0;
      for (const vmm::RamRegion& region : ram_.regions())
        if (start >= region.start && start - region.start < region.bytes)
          count = std::min(left, (region.bytes - (start - region.start)) / kPageBytes);
      if (count == 0) break;
      ranges.push_back({start, count * kPageBytes});
      first += count;
      left -= count;
    }
  }
  return ranges;
}

}  // namespace floe::freeze
