// scope: owns tasks that run beside the one that made it. There is no detached work.
//
//   task<void> serve(machine& vm) {
//     scope children("serve");
//     children.spawn(pump_console(vm), "console");
//     children.spawn(tick(vm), "tick");
//     const auto ended = co_await children.join();       // error of the first child that failed, by name
//     if (!ended) co_return ended.failure();
//     co_return ok;
//   }
//
// A scope lives in the context of the task that creates it: when that is stopped, the children are. A child that fails stops its siblings
// (errors::collect keeps them going). join() always waits for the last child, stopped or not, and must have completed before the scope is
// destroyed: destroying one with children running ends the program, for their frames may be in the kernel's hands.
#pragma once

#include <coroutine>
#include <cstddef>
#include <string_view>

#include "engine/context.hpp"
#include "engine/loop.hpp"
#include "engine/outcome.hpp"
#include "engine/stop.hpp"
#include "engine/task.hpp"

namespace floe::engine {

enum class errors { stop_others, collect };

class scope : private detail::ending {
 public:
  explicit scope(task_name name = "scope", errors policy = errors::stop_others);
  ~scope();
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  // The child starts when the loop gets to it. The name is what stalls and errors are reported under.
  void spawn(task<void> child, task_name name) {
    ++running_;
    loop& owner = context_.owner();
    detail::promise_base& promise = child.release().promise();
    promise.at_end = this;
    owner.start(promise, context_, owner.intern(name));
  }
  void request_stop() { context_.request_stop(); }
  bool stop_requested() const { return context_.stop_requested(); }
  std::size_t running() const { return running_; }
  std::uint64_t failed() const { return failed_; }

  class joiner {
   public:
    explicit joiner(scope& joined) : scope_(joined) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> task) {
      return scope_.wait_for_children(task.promise());
    }
    outcome<> await_resume() { return scope_.result(); }

   private:
    scope& scope_;
  };
  // Waits for all children. The first error if one failed, `cancelled` if the scope was stopped, else ok. May be called again after
  // more children were spawned.
  joiner join() { return joiner(*this); }

 private:
  static void child_ended(detail::ending& self, detail::promise_base& child);
  void child_failed(detail::promise_base& child);
  void last_ended();
  bool wait_for_children(detail::promise_base& task);
  outcome<> result();

  context context_;
  const char* name_;
  errors policy_;
  std::size_t running_ = 0;
  std::uint64_t failed_ = 0;
  detail::promise_base* joining_ = nullptr;
  failure_t first_failure_;
};

namespace detail {

// Runs a task in a child context of the awaiting one and puts the current context back afterwards.
template <class T>
class run_in {
 public:
  run_in(context& inner, task<T>& work) : inner_(inner), work_(work) {}
  bool await_ready() const noexcept { return false; }
  template <class P>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<P> parent) {
    promise_base& from = parent.promise();
    outer_ = from.ctx;
    promise_base& child = work_.promise();
    child.ctx = &inner_;
    child.name = from.name;
    child.parent = &from;
    inner_.add_root(child);
    set_current(inner_);
    return child.handle();
  }
  outcome<T> await_resume() {
    context::remove_root(work_.promise());
    set_current(*outer_);
    return std::move(work_.promise().result);
  }

 private:
  static void set_current(context& ctx);
  context& inner_;
  task<T>& work_;
  context* outer_ = nullptr;
};
void make_current(context& ctx);
context& current_context();
template <class T>
void run_in<T>::set_current(context& ctx) {
  make_current(ctx);
}

// A stop token as the second parent of a context.
struct token_link : link {
  token_link(context& inner, const stop_token& token);
  ~token_link();
  token_link(const token_link&) = delete;
  token_link& operator=(const token_link&) = delete;

  context* target;
  bool linked = false;
};

}  // namespace detail

// Runs `work` so that the token stops it, besides what stops the awaiting task.
template <class T>
task<T> with_stop(task<T> work, stop_token token) {
  context inner(detail::current_context());
  detail::token_link link(inner, token);
  outcome<T> result = co_await detail::run_in<T>(inner, work);
  co_return std::move(result);
}

// Runs `work` where neither stop nor deadline reaches it: clean-up that must happen after a stop. Keep it short.
template <class T>
task<T> shielded(task<T> work) {
  context inner(detail::current_context().owner());
  outcome<T> result = co_await detail::run_in<T>(inner, work);
  co_return std::move(result);
}

}  // namespace floe::engine
