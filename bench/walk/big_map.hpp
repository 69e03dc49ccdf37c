// A hash map that says its types, {u32 -> struct walk_sample}: the same one in the guest whose memory is walked and on the live host beside
// it. Uses nothing but libbpf, for the guest's program is static.
#pragma once

#include <cstdint>

namespace floe::bench {

struct WalkSample {
  std::uint64_t runtime_ns;
  std::uint32_t cpu;
  std::uint32_t wakeups;
};

inline constexpr const char* kBigMapName = "walk_hash";

// Its descriptor, with the keys 0 ... entries - 1 in it; or -errno of what the kernel refused.
int make_big_map(std::uint32_t entries);

}  // namespace floe::bench
