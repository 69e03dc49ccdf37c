// What one image of a guest would take in a ring, without storing it: for telling how large a ring has to be.
#pragma once

#include <cstdint>

#include "vmm/ram.hpp"

namespace floe::freeze {

struct ImageSize {
  std::uint64_t populated_bytes = 0;  // of RAM that exists on the host
  std::uint64_t distinct_pages = 0;   // among them, zero pages left out
  std::uint64_t ring_bytes = 0;       // of a ring with this image alone
};

// Hashes all that is populated (0.5 to 0.8 us a page): on a worker. A guest that runs meanwhile moves the figures a little.
ImageSize measure_image(const vmm::GuestRam& ram);

// `--ring-bytes` for such a guest: its image, a quarter of what is populated for what a history and a growing guest add, whole MiB.
std::uint64_t suggested_ring_bytes(const ImageSize& size);

}  // namespace floe::freeze
