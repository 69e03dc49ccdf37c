#include "engine/frame_pool.hpp"

#include <memory>
#include <new>

namespace floe::engine {

constinit thread_local frame_pool::lists frame_pool::tls{};

// The stacks of all classes, side by side. Of what no burst has reached the kernel never gives a page.
struct frame_pool::janitor {
  janitor() : places(new void*[total()]) {
    void** place = places.get();
    for (std::size_t index = 0; index < kClasses; ++index) {
      tls.stacks[index] = {place, place, place + most_of(index)};
      place += most_of(index);
    }
    tls.state = lists::kOpen;
  }
  ~janitor() {
    tls.state = lists::kClosed;
    for (std::size_t index = 0; index < kClasses; ++index) {
      stack& free = tls.stacks[index];
      while (free.top != free.bottom) {
        void* const frame = *--free.top;
        FLOE_POOL_SHOW(frame, size_of(index));
        ::operator delete(frame);
      }
      free = {};
    }
  }

  static constexpr std::size_t total() {
    std::size_t all = 0;
    for (std::size_t index = 0; index < kClasses; ++index) all += most_of(index);
    return all;
  }
  std::unique_ptr<void*[]> places;
};

void* frame_pool::from_malloc(std::size_t bytes) {
  watch_thread();
  const std::size_t index = class_of(bytes);
  if (index >= kClasses) {
    ++tls.counters.oversize;
    return ::operator new(bytes);
  }
  ++tls.counters.misses;
  return ::operator new(size_of(index));
}

// A thread that only frees what others made has lists to empty too.
void frame_pool::watch_thread() {
  if (tls.state != lists::kUnwatched) return;
  static thread_local janitor cleaner;
  static_cast<void>(cleaner);
}

void frame_pool::release_slowly(void* frame, std::size_t bytes) noexcept {
  watch_thread();
  const std::size_t index = class_of(bytes);
  if (index >= kClasses || tls.stacks[index].top == tls.stacks[index].limit) {
    ::operator delete(frame);
  } else {
    keep(frame, index);
  }
}

frame_pool_counters frame_pool::counters() {
  frame_pool_counters all = tls.counters;
  for (std::size_t index = 0; index < kClasses; ++index) {
    all.cached_bytes += static_cast<std::size_t>(tls.stacks[index].top - tls.stacks[index].bottom) * size_of(index);
  }
  return all;
}

}  // namespace floe::engine
