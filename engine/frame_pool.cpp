#include "engine/frame_pool.hpp"

#include <new>

namespace floe::engine {

constinit thread_local frame_pool::lists frame_pool::tls{};

struct frame_pool::janitor {
  ~janitor() {
    tls.state = lists::kClosed;
    tls.room = {};
    for (std::size_t index = 0; index < kClasses; ++index) {
      while (free_frame* frame = tls.head[index]) {
        FLOE_POOL_SHOW(frame, size_of(index));
        tls.head[index] = frame->next;
        ::operator delete(frame);
      }
    }
  }
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
  tls.state = lists::kOpen;
  for (std::size_t index = 0; index < kClasses; ++index) tls.room[index] = most_of(index);
}

void frame_pool::release_slowly(void* frame, std::size_t bytes) noexcept {
  watch_thread();
  const std::size_t index = class_of(bytes);
  if (index >= kClasses || tls.room[index] == 0) {
    ::operator delete(frame);
  } else {
    keep(frame, index);
  }
}

frame_pool_counters frame_pool::counters() {
  frame_pool_counters all = tls.counters;
  if (tls.state != lists::kOpen) return all;
  for (std::size_t index = 0; index < kClasses; ++index) all.cached_bytes += (most_of(index) - tls.room[index]) * size_of(index);
  return all;
}

}  // namespace floe::engine
