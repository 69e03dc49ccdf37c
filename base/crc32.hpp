// CRC-32/ISO-HDLC (reflected polynomial 0xEDB88320, initial value and final xor all ones): zlib's, behind byte spans.
//
// Check values: nothing -> 0x00000000, "123456789" -> 0xCBF43926. Header only, so that a static program that uses it needs
// nothing but libz (ZLIB::ZLIB) beside it.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace floe {

// The checksum of `data`, or of what `before` is the checksum of followed by `data`.
inline std::uint32_t crc32(std::span<const std::byte> data, std::uint32_t before = 0) {
  if (data.empty()) return before;  // zlib takes a null pointer as a request for the initial value
  return static_cast<std::uint32_t>(::crc32_z(before, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

// The checksum of B alone, from those of A and of A followed by B; `bytes` is B's length. O(log bytes): reads no data.
inline std::uint32_t crc32_suffix(std::uint32_t crc_a, std::uint32_t crc_ab, std::uint64_t bytes) {
  return static_cast<std::uint32_t>(::crc32_combine(crc_a, 0, static_cast<z_off_t>(bytes))) ^ crc_ab;
}

}  // namespace floe
