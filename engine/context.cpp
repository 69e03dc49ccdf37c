#include "engine/context.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "engine/loop.hpp"
#include "engine/ops.hpp"

namespace floe::engine {

context::context(context& parent, nanos deadline) : context(*parent.owner_, deadline < parent.deadline_ ? deadline : parent.deadline_) {
  if (parent.stop_requested()) {
    stopped_.store(true, std::memory_order_relaxed);
  } else {
    has_parent_ = true;
    in_parent_.put_in(parent.children_);
  }
}

context::context(loop& owner, nanos deadline)
    : owner_(&owner), ended_(&owner.ended()), deadline_(deadline), has_deadline_(deadline != kNever) {
  in_parent_.self = this;
  children_.close();
  roots_.close();
  if (has_deadline_) owner_->deadline_contexts(+1);
}

context::~context() {
  if (!roots_.empty() || !children_.empty()) detail::broken("a context ended before the tasks in it");
  if (has_parent_) in_parent_.take_out();
  if (has_deadline_) owner_->deadline_contexts(-1);
}

void context::request_stop() {
  if (stopped_.exchange(true, std::memory_order_relaxed)) return;
  // Stopping only makes tasks ready and queues cancel requests: no task runs here, so the rings stay as they are.
  for (detail::link* at = roots_.after; at != &roots_; at = at->after) {
    detail::promise_base* task = static_cast<detail::promise_base::place*>(at)->task;
    while (detail::promise_base* child = task->waits_for.child()) task = child;
    if (task->waits_for.in_flight() != nullptr) {
      detail::operation::stop(*task);
    } else if (detail::stop_hook* hook = task->waits_for.hook()) {
      task->waits_for.clear();
      hook->fire(*hook);
    }
  }
  for (detail::link* at = children_.after; at != &children_; at = at->after) static_cast<place*>(at)->self->request_stop();
}

void detail::broken(const char* what, const char* name) {
  if (name != nullptr) {
    std::fprintf(stderr, "floe engine: %s (%s)\n", what, name);
  } else {
    std::fprintf(stderr, "floe engine: %s\n", what);
  }
  std::abort();
}

}  // namespace floe::engine
