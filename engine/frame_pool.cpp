#include "engine/frame_pool.hpp"

#include <new>

namespace floe::engine {

constinit thread_local frame_pool::lists frame_pool::tls{};

struct frame_pool::janitor {
  ~janitor() {
    tls.closed = true;
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
  static thread_local janitor cleaner;
  static_cast<void>(cleaner);
  const std::size_t index = class_of(bytes);
  if (index >= kClasses) {
    ++tls.counters.oversize;
    return ::operator new(bytes);
  }
  ++tls.counters.misses;
  return ::operator new(size_of(index));
}

void frame_pool::to_malloc(void* frame) noexcept {
  ::operator delete(frame);
}

}  // namespace floe::engine
