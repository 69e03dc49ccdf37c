#include "engine/stream_base.hpp"

#include <liburing.h>

#include "engine/loop.hpp"

namespace floe::engine::detail {

stream_base::stream_base(loop& owner) : stop_hook(&stream_base::on_stop), owner_(&owner) {
  owner.adopt_stream(*this);
}

stream_base::~stream_base() {
  owner_->drop_stream(*this);
}

bool stream_base::wait(promise_base& task) {
  stopped_ = task.ctx->stop_requested();
  if (stopped_ || has_item()) return false;
  if (waiter_ != nullptr) broken("two tasks wait for one stream", task.name);
  if (!armed_ && !arm()) return false;
  owner_->note_suspension();
  stopped_ = task.ctx->stop_requested();
  if (stopped_) return false;
  waiter_ = &task;
  task.waits_for.set(static_cast<stop_hook&>(*this));
  return true;
}

void stream_base::on_stop(stop_hook& hook) {
  auto& self = static_cast<stream_base&>(hook);
  self.stopped_ = true;
  self.owner_->make_ready(*std::exchange(self.waiter_, nullptr));
}

void stream_base::wake() {
  if (waiter_ == nullptr) return;
  owner_->make_ready(*std::exchange(waiter_, nullptr));
}

void stream_base::submit(const request& what) {
  armed_ = true;
  owner_->submit(what, this, tag::stream);
}

void stream_base::on_completion(int result, unsigned flags) {
  if ((flags & IORING_CQE_F_MORE) == 0) armed_ = false;
  if (!orphan_) take_completion(result, flags);
  if (!orphan_ && has_item()) wake();
  free_if_done();
}

void stream_base::abandon() {
  if (waiter_ != nullptr) broken("a stream was destroyed while a task waits for it", waiter_->name);
  orphan_ = true;
  if (armed_) owner_->submit_cancel(this, tag::stream);
  free_if_done();
}

void stream_base::free_if_done() {
  if (orphan_ && !armed_ && !busy()) delete this;
}

}  // namespace floe::engine::detail
