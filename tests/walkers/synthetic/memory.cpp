#include "tests/walkers/synthetic/memory.hpp"

#include <algorithm>
#include <cstring>

namespace floe::walkers::synthetic {

std::size_t SparseMemory::read(Gpa gpa, std::span<std::byte> out) const {
  ++reads;
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t at = gpa.value + done;
    const auto page = pages_.find(at / kPageBytes);
    if (page == pages_.end()) break;
    const std::size_t chunk = std::min<std::size_t>(out.size() - done, kPageBytes - at % kPageBytes);
    std::memcpy(out.data() + done, page->second.data() + at % kPageBytes, chunk);
    done += chunk;
  }
  return done;
}

std::vector<PhysRange> SparseMemory::populated() const {
  std::vector<PhysRange> ranges;
  for (const auto& [page, bytes] : pages_) {
    if (!ranges.empty() && ranges.back().start.value + ranges.back().bytes == page * kPageBytes)
      ranges.back().bytes += kPageBytes;
    else
      ranges.push_back({Gpa(page * kPageBytes), kPageBytes});
  }
  return ranges;
}

void SparseMemory::write(Gpa gpa, std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = gpa.value + done;
    auto& page = pages_[at / kPageBytes];
    const std::size_t chunk = std::min<std::size_t>(bytes.size() - done, kPageBytes - at % kPageBytes);
    std::memcpy(page.data() + at % kPageBytes, bytes.data() + done, chunk);
    done += chunk;
  }
}

PageTableBuilder::PageTableBuilder(SparseMemory& memory, Gpa root, bool five_levels, Gpa pool)
    : memory_(memory), root_(root), five_levels_(five_levels), next_(pool) {
  memory_.write(root, std::array<std::byte, kPageBytes>{});
}

Gpa PageTableBuilder::entry(Kva kva, int level) {
  Gpa table = root_;
  for (int at = five_levels_ ? 5 : 4;; --at) {
    const Gpa slot = table + 8 * ((kva.value >> (12 + 9 * (at - 1))) & 511);
    if (at == level) return slot;
    std::uint64_t value = 0;
    memory_.read(slot, std::as_writable_bytes(std::span(&value, 1)));
    if ((value & 1) == 0) {
      value = next_.value | 0x67;  // present, writable, user, accessed, dirty: what real tables carry
      memory_.write(next_, std::array<std::byte, kPageBytes>{});
      memory_.put(slot, value);
      next_ = next_ + kPageBytes;
    }
    table = Gpa(value & 0x000ffffffffff000);
  }
}

void PageTableBuilder::map(Kva kva, Gpa gpa, std::uint64_t page_bytes) {
  const int level = page_bytes == kHugePage ? 3 : page_bytes == kLargePage ? 2 : 1;
  const std::uint64_t no_execute = std::uint64_t{1} << 63;
  memory_.put(entry(kva, level), gpa.value | 0x63 | (level > 1 ? 0x80 : 0) | no_execute);
}

void PageTableBuilder::unmap(Kva kva) {
  memory_.put(entry(kva, 1), std::uint64_t{0});
}

}  // namespace floe::walkers::synthetic
