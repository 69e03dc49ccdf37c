#include "engine/context.hpp"

#include <cstdio>
#include <cstdlib>

#include "engine/loop.hpp"

namespace floe::engine {

context::context(context& parent, nanos deadline)
    : stop_hook(&context::stop_child), owner_(parent.owner_), deadline_(deadline < parent.deadline_ ? deadline : parent.deadline_) {
  waiting_.prev = waiting_.next = &waiting_;
  if (deadline_ != kNever) owner_->deadline_contexts(+1);
  if (parent.stop_requested()) {
    stopped_.store(true, std::memory_order_relaxed);
  } else {
    parent.add(*this);
  }
}

context::context(loop& owner, nanos deadline) : stop_hook(&context::stop_child), owner_(&owner), deadline_(deadline) {
  waiting_.prev = waiting_.next = &waiting_;
  if (deadline_ != kNever) owner_->deadline_contexts(+1);
}

context::~context() {
  if (waiting_.next != &waiting_) detail::broken("a context ended while something still waited in it");
  if (linked()) unlink();
  if (deadline_ != kNever) owner_->deadline_contexts(-1);
}

void context::request_stop() {
  if (stopped_.exchange(true, std::memory_order_relaxed)) return;
  // A hook may take itself or others out while it runs, so the ring is read anew each time. Nothing joins a stopped context.
  while (waiting_.next != &waiting_) {
    detail::stop_hook& hook = *waiting_.next;
    hook.unlink();
    hook.fire(hook);
  }
}

void context::stop_child(detail::stop_hook& hook) {
  static_cast<context&>(hook).request_stop();
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
