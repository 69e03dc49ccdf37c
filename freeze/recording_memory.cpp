#include "freeze/recording_memory.hpp"

#include <algorithm>

namespace floe::freeze {

RecordingMemory::RecordingMemory(const walkers::Memory& memory, const RamLayout& layout)
    : memory_(memory), layout_(layout), read_((layout.pages() + 63) / 64) {}

std::size_t RecordingMemory::read(Gpa gpa, std::span<std::byte> out) const {
  for (std::size_t done = 0; done < out.size();) {
    std::uint32_t page = 0;
    if (layout_.find(gpa + done, page) == 0) break;
    auto& word = read_[page / 64];
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit, std::memory_order_relaxed);
    done += kPageBytes - (gpa.value + done) % kPageBytes;
  }
  const std::size_t got = memory_.read(gpa, out);
  std::uint32_t page = 0;
  if (got < out.size() && layout_.find(gpa + got, page) != 0) missed_.fetch_add(1, std::memory_order_relaxed);
  return got;
}

std::vector<std::uint64_t> RecordingMemory::pages() const {
  std::vector<std::uint64_t> pages(read_.size());
  std::transform(read_.begin(), read_.end(), pages.begin(), [](const auto& word) { return word.load(std::memory_order_relaxed); });
  return pages;
}

}  // namespace floe::freeze
