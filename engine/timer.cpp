#include "engine/timer.hpp"

#include <algorithm>
#include <cerrno>

#include "engine/loop.hpp"

namespace floe::engine {
namespace detail {

bool sleeper::start(promise_base& task) {
  loop& owner = task.ctx->owner();
  owner.note_suspension();
  stopped_ = task.ctx->stop_requested();
  if (stopped_) return false;
  waiter_ = &task;
  owner.add_timer(*this, relative_ ? saturating_add(owner.now_nanos(), value_) : value_);
  task.waits_for.set(static_cast<stop_hook&>(*this));
  return true;
}

void sleeper::on_stop(stop_hook& hook) {
  auto& self = static_cast<sleeper&>(hook);
  loop& owner = self.waiter_->ctx->owner();
  self.stopped_ = true;
  owner.remove_timer(self);
  owner.make_ready(*std::exchange(self.waiter_, nullptr));
}

void sleeper::on_time(timer_node& node) {
  auto& self = static_cast<sleeper&>(node);
  self.waiter_->ctx->owner().make_ready(*std::exchange(self.waiter_, nullptr));
}

void yielder::start_with_faults(promise_base& waiting) {
  loop& owner = waiting.ctx->owner();
  owner.note_suspension();
  owner.queue(waiting);
}

bool checkpointer::start(promise_base& task) {
  ctx_ = task.ctx;
  loop& owner = ctx_->owner();
  if (ctx_->stop_requested()) return false;
  if (!owner.more_urgent_ready(ctx_->deadline()) && !owner.slice_is_over()) return false;
  owner.note_suspension();
  owner.make_ready(task);
  return true;
}

outcome<> checkpointer::await_resume() const {
  if (ctx_->stop_requested()) return cancelled;
  if (ctx_->deadline() != kNever && ctx_->owner().now_nanos() >= ctx_->deadline()) return Error(ETIMEDOUT, "the deadline has passed");
  return ok;
}

}  // namespace detail

ticker::ticker(nanoseconds period, precision how)
    : period_(std::max<nanos>(period.count(), 1)), next_(saturating_add(loop::current().now_nanos(), period_)), precision_(how) {}

ticker::ticker(nanoseconds period, time_point start, precision how)
    : period_(std::max<nanos>(period.count(), 1)), next_(to_nanos(start)), precision_(how) {}

task<tick> ticker::next() {
  const time_point due = from_nanos(next_);
  const auto slept = co_await sleep_until(due, precision_);
  if (!slept) co_return slept.failure();
  tick now;
  now.missed = static_cast<std::uint64_t>(std::max<nanos>(loop::current().now_nanos() - next_, 0) / period_);
  next_ += static_cast<nanos>(now.missed) * period_;
  index_ += now.missed;
  missed_ += now.missed;
  now.index = index_++;
  now.due = from_nanos(next_);
  next_ += period_;
  co_return now;
}

}  // namespace floe::engine
