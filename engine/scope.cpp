#include "engine/scope.hpp"

#include "engine/loop.hpp"

namespace floe::engine {

scope::scope(std::string_view name, errors policy)
    : context_(loop::current().current_context()), name_(loop::current().intern(name)), policy_(policy) {}

scope::~scope() {
  if (running_ != 0) detail::broken("a scope was destroyed while children of it run: join() it first", name_);
}

void scope::spawn(task<void> child, std::string_view name) {
  ++running_;
  auto& promise = child.release().promise();
  promise.on_done = &scope::child_ended;
  promise.owner = this;
  loop& owner = context_.owner();
  owner.start(promise, context_, owner.intern(name));
}

void scope::child_ended(detail::promise_base& child, void* self) {
  auto& owner = *static_cast<scope*>(self);
  loop& on = owner.context_.owner();
  auto& result = static_cast<task<void>::promise_type&>(child).result;
  if (result.is_error()) {
    if (owner.failed_++ == 0) owner.first_failure_ = std::move(result).within(child.name).failure();
    if (owner.policy_ == errors::stop_others) owner.context_.request_stop();
  }
  on.bury(child);
  if (--owner.running_ == 0 && owner.joining_ != nullptr) on.make_ready(*std::exchange(owner.joining_, nullptr));
}

bool scope::wait_for_children(detail::promise_base& task) {
  if (running_ == 0) return false;
  if (joining_ != nullptr) detail::broken("two tasks join one scope", name_);
  context_.owner().note_suspension();
  joining_ = &task;
  return true;
}

outcome<> scope::result() {
  if (first_failure_.is_error()) return std::exchange(first_failure_, failure_t());
  if (context_.stop_requested()) return cancelled;
  return ok;
}

namespace detail {

void make_current(context& ctx) {
  ctx.owner().set_current(ctx);
}
context& current_context() {
  return loop::current().current_context();
}

token_link::token_link(context& inner, const stop_token& token) : target(&inner) {
  if (token.state() == nullptr) return;
  if (&inner.owner() != token.state()->owner) broken("a stop token belongs to one loop and was used on another");
  if (token.stop_requested()) {
    inner.request_stop();
    return;
  }
  linked = true;
  put_in(token.state()->links);
}

token_link::~token_link() {
  if (linked) take_out();
}

}  // namespace detail
}  // namespace floe::engine
