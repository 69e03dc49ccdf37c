// Unpacking .xz data, as Debian compresses kernel modules and kernel images.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace floe::vmm {

inline constexpr std::size_t kMaxXzOutput = std::size_t{256} << 20;

// All streams of `bytes`, with their checks verified. Errors: not .xz, corrupt, cut short, more than kMaxXzOutput bytes of output,
// or a dictionary that needs more memory than that. Memory follows the output.
Result<std::vector<std::byte>> unpack_xz(std::span<const std::byte> bytes);

}  // namespace floe::vmm
