// Numbers out of bytes: little-endian, as guest and host are. Private to the renderer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace floe::walkers::render {

// At most 8 bytes.
inline std::uint64_t load(const std::byte* at, std::uint64_t bytes) {
  switch (bytes) {
    case 1:
      return std::to_integer<std::uint64_t>(*at);
    case 2: {
      std::uint16_t value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
    case 4: {
      std::uint32_t value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
    case 8: {
      std::uint64_t value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
    default: {
      std::uint64_t value = 0;
      std::memcpy(&value, at, std::min<std::uint64_t>(bytes, sizeof value));
      return value;
    }
  }
}

// `bits` bits from bit `shift` of the first byte on, in at most nine bytes.
inline std::uint64_t load_bits(const std::byte* at, std::uint64_t bytes, unsigned shift, unsigned bits) {
  std::uint64_t value = load(at, bytes);
  if (shift != 0) {
    value >>= shift;
    if (bytes > 8) value |= std::to_integer<std::uint64_t>(at[8]) << (64 - shift);
  }
  return bits < 64 ? value & ((std::uint64_t{1} << bits) - 1) : value;
}

inline std::int64_t sign_extend(std::uint64_t value, unsigned bits) {
  const unsigned unused = 64 - bits;
  return static_cast<std::int64_t>(value << unused) >> unused;
}

}  // namespace floe::walkers::render
