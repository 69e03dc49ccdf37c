// Little helpers of the device models: little-endian register values out of and into the byte spans that accesses carry.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace floe::vmm {

static_assert(std::endian::native == std::endian::little, "registers are copied as they lie in memory");

// The first (up to 8) bytes of `data` as a number.
inline std::uint64_t load_le(std::span<const std::byte> data) {
  std::uint64_t value = 0;
  if (!data.empty()) std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
  return value;
}

// `value` into `data`; bytes past the eighth become zero.
inline void store_le(std::span<std::byte> data, std::uint64_t value) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (!data.empty()) std::memcpy(data.data(), &value, std::min(data.size(), sizeof value));
}

// What a bus answers where nobody listens.
inline void fill_ones(std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0xff});
}

// Copies image[offset, offset + data.size()); bytes past the image read as zero.
inline void read_image(std::span<const std::byte> image, std::uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= image.size() || data.empty()) return;
  std::memcpy(data.data(), image.data() + offset, std::min<std::uint64_t>(data.size(), image.size() - offset));
}

}  // namespace floe::vmm
