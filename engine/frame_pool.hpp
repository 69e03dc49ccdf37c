// Coroutine frames are short-lived and of few sizes; taking each from malloc is what makes tasks slow. Every thread keeps free lists
// in classes of 64 bytes up to 2 KiB, so that a steady loop allocates nothing: `misses` stands still once the loop is warm.
// A frame may be freed on another thread than it was made on; it then joins that thread's lists.
#pragma once

#include <cstddef>
#include <cstdint>

namespace floe::engine {

struct frame_pool_counters {
  std::uint64_t hits = 0;      // frames taken from a free list
  std::uint64_t misses = 0;    // frames that came from malloc although a class exists for them
  std::uint64_t oversize = 0;  // frames above 2 KiB, always from malloc
  std::uint64_t cached_bytes = 0;
};

class frame_pool {
 public:
  static constexpr std::size_t kGrain = 64;
  static constexpr std::size_t kLargest = 2048;
  // A burst of a million tasks must not keep its memory for ever.
  static constexpr std::size_t kCacheLimit = std::size_t{64} << 20;

  static void* allocate(std::size_t bytes);
  static void release(void* frame, std::size_t bytes) noexcept;
  static frame_pool_counters counters();  // of the calling thread
};

}  // namespace floe::engine
