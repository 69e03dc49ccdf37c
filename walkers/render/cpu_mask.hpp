// Sets of CPUs as the kernel prints them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace floe::walkers::render {

// Writes the list form ("0-3,8") of the bits in `words`, 64-bit little-endian, of CPUs below `cpus`, into `out`, whose room is used
// again. The mask ends early at a word that looks like a kernel pointer: memory behind a mask that is shorter than its type.
void format_cpus(std::span<const std::byte> words, std::uint32_t cpus, std::string& out);

// Is the top byte 0xff, but not all of it? No mask of CPUs is so full and yet not full.
inline bool looks_like_pointer(std::uint64_t word) {
  return word >> 56 == 0xff && word != ~std::uint64_t{0};
}

}  // namespace floe::walkers::render
