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
      tls.stacks[index] = {nullptr, false, place, place, place + most_of(index)};
      place += most_of(index);
    }
    tls.state = lists::kOpen;
  }
  ~janitor() {
    tls.state = lists::kClosed;
    for (std::size_t index = 0; index < kClasses; ++index) {
      stack& free = tls.stacks[index];
      if (free.last_is_here) give_back(free.last, index);
      while (free.top != free.bottom) give_back(*--free.top, index);
      free = {};
    }
  }

  static void give_back(void* frame, [[maybe_unused]] std::size_t index) {
    FLOE_POOL_SHOW(frame, size_of(index));
    ::operator delete(frame);
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

// Too large for a class, more than its share, or the first one on a thread that has made none: only that one has a second try.
void frame_pool::release_slowly(void* frame, std::size_t bytes) noexcept {
  if (class_of(bytes) < kClasses && tls.state == lists::kUnwatched) {
    watch_thread();
    release(frame, bytes);
  } else {
    ::operator delete(frame);
  }
}

frame_pool_counters frame_pool::counters() {
  frame_pool_counters all = tls.counters;
  for (std::size_t index = 0; index < kClasses; ++index) {
    const stack& free = tls.stacks[index];
    all.cached_bytes += (static_cast<std::size_t>(free.top - free.bottom) + (free.last_is_here ? 1 : 0)) * size_of(index);
  }
  return all;
}

}  // namespace floe::engine
