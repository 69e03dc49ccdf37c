// task<T>: a coroutine that starts when it is awaited and gives an outcome<T>.
//
//   task<std::size_t> copy(int from, int to) {
//     std::array<std::byte, 4096> buffer;
//     const auto got = co_await read(from, buffer);
//     if (!got) co_return got.failure();
//     const auto put = co_await write_all(to, std::span(buffer).first(*got));
//     if (!put) co_return put.failure();
//     co_return *got;
//   }
//
// `co_return` takes a value, an Error, floe::fail(...), `cancelled`, failure(), or a whole outcome or Result. A task<void> ends with
// `co_return ok;`: the language does not let a coroutine that returns errors fall off its end.
//
// A task is lazy and move-only; `co_await std::move(t)` starts it and transfers control without growing the stack, both ways. It runs on
// the loop of whoever awaits it, in the same context (stop token, deadline, name). Frames come from frame_pool. An exception that leaves a
// task becomes an error outcome. A task that was never awaited is simply destroyed.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "engine/context.hpp"
#include "engine/frame_pool.hpp"
#include "engine/outcome.hpp"

namespace floe::engine {

template <class T = void>
class task;

namespace detail {

Error error_from_current_exception();

struct task_promise_base : promise_base {
  static void* operator new(std::size_t bytes) { return frame_pool::allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { frame_pool::release(frame, bytes); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct final_awaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> ended) noexcept {
      promise_base& promise = ended.promise();
      if (promise.parent != nullptr) [[likely]] {
        promise.parent->waits_for.clear();
        return promise.parent->handle();
      }
      promise.ctx->root_ended(promise);
      return std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };
  final_awaiter final_suspend() noexcept { return {}; }
};

template <class T>
struct task_promise : task_promise_base {
  task<T> get_return_object() noexcept;
  void unhandled_exception() { result = error_from_current_exception(); }
  // The default lets `co_return {value}` and `co_return {}` work.
  template <class U = outcome<T>>
    requires std::is_constructible_v<outcome<T>, U&&>
  void return_value(U&& value) {
    result.put(std::forward<U>(value));
  }

  outcome<T> result;
};

}  // namespace detail

template <class T>
class [[nodiscard]] task {
 public:
  using value_type = T;
  using promise_type = detail::task_promise<T>;
  using handle = std::coroutine_handle<promise_type>;

  task() = default;
  explicit task(handle coroutine) : coroutine_(coroutine) {}
  task(task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~task() {
    if (coroutine_) coroutine_.destroy();
  }

  explicit operator bool() const { return static_cast<bool>(coroutine_); }

  class awaiter {
   public:
    explicit awaiter(handle child) : child_(child) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> parent) noexcept {
      detail::promise_base& from = parent.promise();
      promise_type& to = child_.promise();
      static_cast<detail::surroundings&>(to) = from;
      to.parent = &from;
      from.waits_for.set(to);
      return child_;
    }
    outcome<T> await_resume() { return std::move(child_.promise().result); }

   private:
    handle child_;
  };
  awaiter operator co_await() && noexcept {
    if (!coroutine_) [[unlikely]]
      detail::broken("an empty task was awaited");
    return awaiter(coroutine_);
  }

  // For the engine's own combinators.
  promise_type& promise() const { return coroutine_.promise(); }
  handle release() { return std::exchange(coroutine_, nullptr); }

 private:
  handle coroutine_;
};

template <class T>
task<T> detail::task_promise<T>::get_return_object() noexcept {
  static_assert(alignof(task_promise) <= 16, "the result of a task is over-aligned: put it outside of the frame");
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}

}  // namespace floe::engine
