#include "freeze/image_size.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <vector>

#include "freeze/page_store.hpp"
#include "freeze/racing_copy.hpp"

namespace floe::freeze {

ImageSize measure_image(const vmm::GuestRam& ram) {
  ImageSize size;
  std::vector<std::uint64_t> seen;
  std::array<std::byte, kPageBytes> copy;  // of a page that the guest may be writing
  for (const auto& range : ram.populated()) {
    size.populated_bytes += range.count * kPageBytes;
    for (std::uint64_t page = range.first; page < range.first + range.count; ++page) {
      copy_racing(copy.data(), ram.page(page));
      if (!is_zero(copy)) seen.push_back(XXH3_64bits(copy.data(), copy.size()));
    }
  }
  std::sort(seen.begin(), seen.end());
  size.distinct_pages = static_cast<std::uint64_t>(std::unique(seen.begin(), seen.end()) - seen.begin());
  size.ring_bytes = size.distinct_pages * (kPageBytes + PageStore::kTableBytesPerPage) + 2 * ram.pages() * sizeof(PageRef);
  return size;
}

std::uint64_t suggested_ring_bytes(const ImageSize& size) {
  constexpr std::uint64_t kMiB = 1 << 20;
  return (size.ring_bytes + size.populated_bytes / 4 + kMiB - 1) / kMiB * kMiB;
}

}  // namespace floe::freeze
