#include "engine/scope.hpp"

#include "engine/loop.hpp"

namespace floe::engine {

scope::scope(task_name name, errors policy)
    : ending(&scope::child_ended), context_(loop::current().current_context()), name_(loop::current().intern(name)), policy_(policy) {}

scope::~scope() {
  if (running_ != 0) detail::broken("a scope was destroyed while children of it run: join() it first", name_);
}

void scope::child_ended(detail::ending& self, detail::promise_base& child) {
  auto& owner = static_cast<scope&>(self);
  if (static_cast<task<void>::promise_type&>(child).result.is_error()) [[unlikely]]
    owner.child_failed(child);
  child.handle().destroy();
  if (--owner.running_ == 0 && owner.joining_ != nullptr) owner.last_ended();
}

void scope::child_failed(detail::promise_base& child) {
  auto& result = static_cast<task<void>::promise_type&>(child).result;
  if (failed_++ == 0) first_failure_ = std::move(result).within(child.name).failure();
  if (policy_ == errors::stop_others) context_.request_stop();
}

void scope::last_ended() {
  context_.owner().make_ready(*std::exchange(joining_, nullptr));
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
