#include "engine/combine.hpp"

#include <cerrno>

#include "engine/loop.hpp"

namespace floe::engine::detail {

void gathering::start(promise_base& parent) {
  loop& owner = inner_.owner();
  owner.note_suspension();
  parent_ = &parent;
  left_ = started_.size();
  first_ = started_.size();
  for (promise_base* child : started_) {
    child->at_end = this;
    owner.start(*child, inner_, parent.name);
  }
}

void gathering::child_ended(ending& self, promise_base& child) {
  auto& all = static_cast<gathering&>(self);
  if (all.first_ == all.started_.size()) {
    for (all.first_ = 0; all.started_[all.first_] != &child;) ++all.first_;
    if (all.stop_after_first_) all.inner_.request_stop();
  }
  if (--all.left_ == 0) all.inner_.owner().make_ready(*all.parent_);
}

deadline_guard::deadline_guard(nanos deadline) : timer_node(&deadline_guard::on_time), inner_(current_context(), deadline) {
  // A parent that has less time stops us earlier than a timer of ours would.
  if (inner_.deadline() == deadline && deadline != kNever) inner_.owner().add_timer(*this, deadline);
}

deadline_guard::~deadline_guard() {
  if (pending()) inner_.owner().remove_timer(*this);
}

void deadline_guard::on_time(timer_node& node) {
  auto& self = static_cast<deadline_guard&>(node);
  self.expired_ = true;
  self.inner_.owner().count_missed_deadline();
  self.inner_.request_stop();
}

Error deadline_error() {
  return Error(ETIMEDOUT, "the deadline has passed");
}
time_point current_time() {
  return loop::current().now();
}

}  // namespace floe::engine::detail
