// Stopping from outside the tree of tasks: a signal handler's thread, a button, another loop.
//
//   stop_source stop;                                         // on the loop's thread
//   co_await with_stop(boot(machine), stop.token());          // cancelled when somebody calls stop.request_stop(), from any thread
//
// Inside the tree none of this is needed: stopping a scope stops its children.
#pragma once

#include <atomic>
#include <memory>

#include "engine/context.hpp"
#include "engine/doorbell.hpp"

namespace floe::engine {

namespace detail {
struct stop_state : note {
  explicit stop_state(loop& owner);
  static void deliver(note& what);
  void fire_all();

  std::atomic<bool> requested{false};
  std::shared_ptr<class doorbell> bell;
  loop* owner;
  link links;                             // ring of token_link
  std::shared_ptr<stop_state> in_flight;  // keeps itself alive while the note is on its way
};
}  // namespace detail

class stop_token {
 public:
  stop_token() = default;  // never stops
  explicit stop_token(std::shared_ptr<detail::stop_state> state) : state_(std::move(state)) {}
  bool stop_requested() const { return state_ && state_->requested.load(std::memory_order_acquire); }  // any thread
  detail::stop_state* state() const { return state_.get(); }

 private:
  std::shared_ptr<detail::stop_state> state_;
};

class stop_source {
 public:
  stop_source();  // for the current loop
  explicit stop_source(loop& owner);
  // Any thread. Tasks are stopped by the loop: at once when called from inside it, else in its next pass.
  void request_stop();
  bool stop_requested() const { return state_->requested.load(std::memory_order_acquire); }
  stop_token token() const { return stop_token(state_); }

 private:
  std::shared_ptr<detail::stop_state> state_;
};

}  // namespace floe::engine
