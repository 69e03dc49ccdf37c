#include "engine/frame_pool.hpp"

#include <new>
#include <utility>

namespace floe::engine {

constinit frame_pool::free_frame frame_pool::shut{nullptr, 0};
constinit thread_local frame_pool::lists frame_pool::tls;

struct frame_pool::janitor {
  janitor() {
    tls.state = lists::kOpen;
    for (std::size_t index = 0; index < kClasses; ++index) {
      tls.bottom[index] = {nullptr, most_of(index)};
      tls.head[index] = &tls.bottom[index];
    }
  }
  ~janitor() {
    tls.state = lists::kClosed;
    for (std::size_t index = 0; index < kClasses; ++index) {
      while (free_frame* next = tls.head[index]->next) {
        FLOE_POOL_SHOW(tls.head[index], size_of(index));
        ::operator delete(std::exchange(tls.head[index], next));
      }
      tls.head[index] = &shut;
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
}

void frame_pool::release_slowly(void* frame, std::size_t bytes) noexcept {
  watch_thread();
  const std::size_t index = class_of(bytes);
  if (index >= kClasses || tls.head[index]->room == 0) {
    ::operator delete(frame);
  } else {
    keep(frame, index);
  }
}

frame_pool_counters frame_pool::counters() {
  frame_pool_counters all = tls.counters;
  if (tls.state != lists::kOpen) return all;
  for (std::size_t index = 0; index < kClasses; ++index) all.cached_bytes += (most_of(index) - tls.head[index]->room) * size_of(index);
  return all;
}

}  // namespace floe::engine
