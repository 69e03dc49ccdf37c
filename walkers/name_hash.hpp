// The hash behind the name indexes of symbols and types. Private to walkers. Names come from the guest and may be made to
// collide: what is indexed by it must be cheap to build whatever the hashes are, as sorted arrays are and hash tables are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace floe::walkers {

template <class T>
inline std::uint64_t word_at(const char* at) {
  T word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// Multiply and fold over 8-byte words, the last of them overlapping the one before, so that no length needs a byte loop. The
// upper half of the product is what every bit of the name reaches.
inline std::uint32_t hash_name(std::string_view name) {
  const char* at = name.data();
  const std::size_t size = name.size();
  std::uint64_t hash = size * 0x9e3779b97f4a7c15u;
  const auto mix = [&hash](std::uint64_t word) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  };
  if (size >= 8) {
    for (std::size_t done = 0; done + 8 < size; done += 8) mix(word_at<std::uint64_t>(at + done));
    mix(word_at<std::uint64_t>(at + size - 8));
  } else if (size >= 4) {
    mix(word_at<std::uint32_t>(at) << 32 | word_at<std::uint32_t>(at + size - 4));
  } else if (size > 0) {
    mix(word_at<std::uint8_t>(at) << 16 | word_at<std::uint8_t>(at + size / 2) << 8 | word_at<std::uint8_t>(at + size - 1));
  }
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace floe::walkers
