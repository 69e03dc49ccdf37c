#include "engine/mailbox.hpp"

#include <cerrno>

#include "base/may_block.hpp"
#include "engine/loop.hpp"

namespace floe::engine::detail {

mailbox_base::mailbox_base(loop& owner)
    : stop_hook(&mailbox_base::on_stop), note(&mailbox_base::on_note), owner_(&owner), bell_(owner.doorbell()) {}

mailbox_base::~mailbox_base() {
  if (waiter_ != nullptr) broken("a mailbox was destroyed while a task receives from it", waiter_->name);
  // Our note may still be on its way; taking all notes now runs it.
  if (announced_.load(std::memory_order_acquire) && !bell_->closed()) bell_->drain();
}

// One note is on its way at most. The flag is cleared before the loop looks into the mailbox, so an item pushed later announces itself.
void mailbox_base::announce() {
  may_block("a mailbox was posted to");
  if (announced_.exchange(true, std::memory_order_acq_rel)) return;
  bell_->post(*this);
}

void mailbox_base::on_note(note& what) {
  auto& self = static_cast<mailbox_base&>(what);
  self.announced_.exchange(false, std::memory_order_acq_rel);
  if (self.waiter_ == nullptr || !self.has_item()) return;
  self.owner_->make_ready(*std::exchange(self.waiter_, nullptr));
}

void mailbox_base::on_stop(stop_hook& hook) {
  auto& self = static_cast<mailbox_base&>(hook);
  self.stopped_ = true;
  self.owner_->make_ready(*std::exchange(self.waiter_, nullptr));
}

bool mailbox_base::wait(promise_base& task) {
  stopped_ = task.ctx->stop_requested();
  if (stopped_ || has_item()) return false;
  if (waiter_ != nullptr) broken("two tasks receive from one mailbox", task.name);
  owner_->note_suspension();
  stopped_ = task.ctx->stop_requested();
  if (stopped_) return false;
  waiter_ = &task;
  task.waits_for.set(static_cast<stop_hook&>(*this));
  return true;
}

loop& current_loop() {
  return loop::current();
}
Error mailbox_closed() {
  return Error(EPIPE, "the mailbox is closed");
}

}  // namespace floe::engine::detail
