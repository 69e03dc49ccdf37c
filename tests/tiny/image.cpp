// The payload's image, as bytes of this program.
#include "tests/tiny/image.hpp"

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    "floe_tiny_image_begin:\n"
    ".incbin \"" FLOE_TINY_IMAGE
    "\"\n"
    "floe_tiny_image_end:\n"
    ".popsection\n");

extern "C" {
extern const std::byte floe_tiny_image_begin[];
extern const std::byte floe_tiny_image_end[];
}

namespace floe::tiny {

std::span<const std::byte> image() {
  return {floe_tiny_image_begin, floe_tiny_image_end};
}

}  // namespace floe::tiny
