// Time as the engine sees it. Normally CLOCK_MONOTONIC (std::chrono::steady_clock); a manual_clock makes it stand still between the
// moments a test moves it, so that tests of timers and deadlines neither sleep nor depend on the machine.
#pragma once

#include <atomic>
#include <chrono>

#include "engine/context.hpp"

namespace floe::engine {

using nanoseconds = std::chrono::nanoseconds;
using time_point = std::chrono::steady_clock::time_point;

inline nanos to_nanos(time_point at) {
  return std::chrono::duration_cast<nanoseconds>(at.time_since_epoch()).count();
}
inline time_point from_nanos(nanos at) {
  return time_point(nanoseconds(at));
}

// Adds without overflow: a deadline far away is kNever, not the past.
inline nanos saturating_add(nanos at, nanos more) {
  nanos sum = 0;
  return __builtin_add_overflow(at, more, &sum) ? (more > 0 ? kNever : std::numeric_limits<nanos>::min()) : sum;
}

class manual_clock {
 public:
  // idle: time stands still until advance(); an idle loop waits for the kernel or for a post, without a time limit.
  // jumps: a loop with nothing else to do, no work in a pool, and nothing completed moves the clock to its next timer at once.
  enum class mode { idle, jumps };

  explicit manual_clock(mode how = mode::jumps, time_point start = time_point(std::chrono::seconds(1000)))
      : now_(to_nanos(start)), mode_(how) {}

  time_point now() const { return from_nanos(now_.load(std::memory_order_relaxed)); }
  // Timers that became due fire when the loop looks next. From another thread: follow it with a post.
  void advance(nanoseconds by) { now_.fetch_add(by.count(), std::memory_order_relaxed); }

  nanos now_nanos() const { return now_.load(std::memory_order_relaxed); }
  bool jumps() const { return mode_ == mode::jumps; }
  void jump_to(nanos at) {
    if (at > now_nanos()) now_.store(at, std::memory_order_relaxed);
  }

 private:
  std::atomic<nanos> now_;
  mode mode_;
};

}  // namespace floe::engine
