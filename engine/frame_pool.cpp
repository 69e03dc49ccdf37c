#include "engine/frame_pool.hpp"

#include <array>
#include <new>

// Under ASan a frame in a free list is poisoned, or the pool would hide every use after the end of a coroutine.
#if defined(__SANITIZE_ADDRESS__)
#define FLOE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FLOE_ASAN 1
#endif
#endif
#ifdef FLOE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace floe::engine {
namespace {

struct free_frame {
  free_frame* next;
};

constexpr std::size_t kClasses = frame_pool::kLargest / frame_pool::kGrain;
constexpr std::size_t class_of(std::size_t bytes) {
  return (bytes + frame_pool::kGrain - 1) / frame_pool::kGrain - 1;
}

// Trivially constructible and destructible, so that reaching it needs no guard; the janitor below empties it at thread exit.
struct lists {
  std::array<free_frame*, kClasses> head;
  frame_pool_counters counters;
  bool closed;
};
constinit thread_local lists tls{};

struct janitor {
  ~janitor() {
    tls.closed = true;
    for (std::size_t index = 0; index < kClasses; ++index) {
      while (free_frame* frame = tls.head[index]) {
        ASAN_UNPOISON_MEMORY_REGION(frame, (index + 1) * frame_pool::kGrain);
        tls.head[index] = frame->next;
        ::operator delete(frame);
      }
    }
  }
};

void* from_malloc(std::size_t index) {
  static thread_local janitor cleaner;
  static_cast<void>(cleaner);
  ++tls.counters.misses;
  return ::operator new((index + 1) * frame_pool::kGrain);
}

}  // namespace

void* frame_pool::allocate(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  if (index >= kClasses) [[unlikely]] {
    ++tls.counters.oversize;
    return ::operator new(bytes);
  }
  free_frame* frame = tls.head[index];
  if (frame == nullptr) [[unlikely]]
    return from_malloc(index);
  ASAN_UNPOISON_MEMORY_REGION(frame, (index + 1) * kGrain);
  tls.head[index] = frame->next;
  ++tls.counters.hits;
  tls.counters.cached_bytes -= (index + 1) * kGrain;
  return frame;
}

void frame_pool::release(void* frame, std::size_t bytes) noexcept {
  const std::size_t index = class_of(bytes);
  if (index >= kClasses || tls.closed || tls.counters.cached_bytes >= kCacheLimit) [[unlikely]] {
    ::operator delete(frame);
    return;
  }
  auto* freed = static_cast<free_frame*>(frame);
  freed->next = tls.head[index];
  tls.head[index] = freed;
  tls.counters.cached_bytes += (index + 1) * kGrain;
  ASAN_POISON_MEMORY_REGION(frame, (index + 1) * kGrain);
}

frame_pool_counters frame_pool::counters() {
  return tls.counters;
}

}  // namespace floe::engine
