// Waiting for time, and giving others a turn.
//
// Times are absolute moments of the loop's clock. A timer costs an entry in a heap and no system call: the earliest one limits the
// loop's sleep. Measured lateness is that of a timerfd read, 20-40 us in a virtual machine; precision::exact wakes earlier and spins the
// last 60 us, for a lateness below 0.1 us at the price of that CPU time.
#pragma once

#include <coroutine>
#include <cstdint>

#include "engine/clock.hpp"
#include "engine/context.hpp"
#include "engine/loop.hpp"
#include "engine/outcome.hpp"
#include "engine/task.hpp"
#include "engine/timer_heap.hpp"

namespace floe::engine {

enum class precision { normal, exact };

namespace detail {

class sleeper : private stop_hook, private timer_node {
 public:
  sleeper(nanos value, bool relative, precision how)
      : stop_hook(&sleeper::on_stop), timer_node(&sleeper::on_time), value_(value), relative_(relative) {
    timer_node::precise = how == precision::exact;
  }
  ~sleeper() {
    if (waiter_ != nullptr) broken("a sleeping task was destroyed", waiter_->name);
  }
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    return start(task.promise());
  }
  outcome<> await_resume() const {
    if (stopped_) return cancelled;
    return ok;
  }

 private:
  bool start(promise_base& task);
  static void on_stop(stop_hook& hook);
  static void on_time(timer_node& node);

  nanos value_;
  bool relative_;
  bool stopped_ = false;
  promise_base* waiter_ = nullptr;
};

class yielder {
 public:
  bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> task) {
    promise_base& waiting = task.promise();
    loop& owner = loop::of_running_task();
    if (owner.faults_armed()) [[unlikely]]
      return start_with_faults(waiting);
    owner.queue(waiting);
  }
  void await_resume() const noexcept {}

 private:
  [[gnu::cold]] static void start_with_faults(promise_base& waiting);
};

class checkpointer {
 public:
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    return start(task.promise());
  }
  outcome<> await_resume() const;

 private:
  bool start(promise_base& task);
  context* ctx_ = nullptr;
};

}  // namespace detail

// Cancelled when the context is stopped meanwhile. Zero or a moment in the past still lets the loop look at everything else once.
inline detail::sleeper sleep_for(nanoseconds how_long, precision how = precision::normal) {
  return {how_long.count(), true, how};
}
inline detail::sleeper sleep_until(time_point when, precision how = precision::normal) {
  return {to_nanos(when), false, how};
}

// Lets every task that is ready run before this one goes on (those with earlier deadlines, and others in their turn).
inline detail::yielder yield() {
  return {};
}

// For long computations, at every bounded step. Costs a few ns when there is nothing to do. Yields when a task with an earlier deadline
// is ready or this task has had its 200 us; then says how things stand: cancelled, an ETIMEDOUT error when the deadline of this
// context has passed, or ok.
inline detail::checkpointer checkpoint() {
  return {};
}

struct tick {
  std::uint64_t index = 0;   // number of this period since the start, from 0; jumps when periods were missed
  std::uint64_t missed = 0;  // periods skipped just before this one
  time_point due;
};

// A steady beat: tick n is due at start + n * period whatever happened before, so nothing drifts. Who comes late gets the newest period
// that is due and the number of those it missed.
class ticker {
 public:
  explicit ticker(nanoseconds period, precision how = precision::normal);           // the first tick is one period from now
  ticker(nanoseconds period, time_point start, precision how = precision::normal);  // the first tick is at `start`

  task<tick> next();
  std::uint64_t missed() const { return missed_; }  // in all

 private:
  nanos period_;
  nanos next_;
  std::uint64_t index_ = 0;
  std::uint64_t missed_ = 0;
  precision precision_;
};

}  // namespace floe::engine
