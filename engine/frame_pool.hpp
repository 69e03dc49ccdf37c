// Coroutine frames are short-lived and of few sizes; taking each from malloc is what makes tasks slow. Every thread keeps the free ones
// in classes of 64 bytes up to 2 KiB, so that a steady loop allocates nothing: `misses` stands still once the loop is warm.
// A frame may be freed on another thread than it was made on; it then joins that thread's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// Under ASan a free frame is poisoned, or the pool would hide every use after the end of a coroutine.
#if defined(__SANITIZE_ADDRESS__)
#define FLOE_POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FLOE_POOL_ASAN 1
#endif
#endif
#ifdef FLOE_POOL_ASAN
#include <sanitizer/asan_interface.h>
#define FLOE_POOL_HIDE(address, size) ASAN_POISON_MEMORY_REGION(address, size)
#define FLOE_POOL_SHOW(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#else
#define FLOE_POOL_HIDE(address, size) static_cast<void>(0)
#define FLOE_POOL_SHOW(address, size) static_cast<void>(0)
#endif

namespace floe::engine {

struct frame_pool_counters {
  std::uint64_t misses = 0;    // frames that came from malloc although a class exists for them
  std::uint64_t oversize = 0;  // frames above 2 KiB, always from malloc
  std::uint64_t cached_bytes = 0;
};

class frame_pool {
 public:
  static constexpr std::size_t kGrain = 64;
  static constexpr std::size_t kLargest = 2048;
  // A burst of a million tasks must not keep its memory for ever. Each class has an equal share, so that none starves the others.
  static constexpr std::size_t kCacheLimit = std::size_t{64} << 20;

  static void* allocate(std::size_t bytes) {
    const std::size_t index = class_of(bytes);
    if (index >= kClasses) [[unlikely]]
      return from_malloc(bytes);
    stack& free = tls.stacks[index];
    void* frame = free.last;
    if (free.last_is_here) [[likely]] {
      free.last_is_here = false;
    } else {
      if (free.top == free.bottom) [[unlikely]]
        return from_malloc(bytes);
      frame = *--free.top;
    }
    FLOE_POOL_SHOW(frame, size_of(index));
    return frame;
  }

  static void release(void* frame, std::size_t bytes) noexcept {
    const std::size_t index = class_of(bytes);
    if (index >= kClasses) [[unlikely]]
      return release_slowly(frame, bytes);
    stack& free = tls.stacks[index];
    if (frame == free.last) [[likely]] {
      free.last_is_here = true;
    } else if (!free.last_is_here && free.limit != nullptr) {
      free.last = frame;
      free.last_is_here = true;
    } else {
      if (free.top == free.limit) [[unlikely]]
        return release_slowly(frame, bytes);
      *free.top++ = frame;
    }
    FLOE_POOL_HIDE(frame, size_of(index));
  }

  static frame_pool_counters counters();  // of the calling thread

 private:
  static constexpr std::size_t kClasses = kLargest / kGrain;
  static constexpr std::size_t class_of(std::size_t bytes) { return (bytes - 1) / kGrain; }
  static constexpr std::size_t size_of(std::size_t index) { return (index + 1) * kGrain; }
  static constexpr std::size_t most_of(std::size_t index) { return kCacheLimit / kClasses / size_of(index); }

  static void* from_malloc(std::size_t bytes);
  static void release_slowly(void* frame, std::size_t bytes) noexcept;
  static void watch_thread();

  // The addresses of the free frames of a class, in an array: unlike a list through the frames it is not held up by one that the cache has
  // lost. All null until the thread's janitor, which empties it at the thread's end, is there: nothing to take, no room. The frame freed
  // last lies before the array. Who awaits one task after the other takes and gives that, again and again; its address is not written
  // anew, so that no round waits for a store of the one before. While it is not here, the address is only compared with.
  struct stack {
    void* last;
    bool last_is_here;
    void** top;
    void** bottom;
    void** limit;
  };

  // Trivially constructible and destructible, so that reaching it needs no guard.
  struct lists {
    std::array<stack, kClasses> stacks;
    frame_pool_counters counters;
    enum { kUnwatched, kOpen, kClosed } state;
  };
  struct janitor;
  static constinit thread_local lists tls;
};

}  // namespace floe::engine
