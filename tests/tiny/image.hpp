#pragma once

#include <cstddef>
#include <span>

namespace floe::tiny {

// The payload, to be put at TINY_PAYLOAD. Begins with struct tiny_header.
std::span<const std::byte> image();

}  // namespace floe::tiny
