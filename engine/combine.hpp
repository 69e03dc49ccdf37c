// Several tasks as one: all of them, the first of them, or one with a limit of time. None returns before every task it was given has ended.
// They keep the frames of tasks that ended until then: what must go earlier belongs into a local of the task, not into a parameter.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/clock.hpp"
#include "engine/context.hpp"
#include "engine/outcome.hpp"
#include "engine/scope.hpp"
#include "engine/task.hpp"
#include "engine/timer_heap.hpp"

namespace floe::engine {

namespace detail {

// Starts tasks side by side in one context and waits for all.
class gathering : private ending {
 public:
  // `children` must stay valid until all have ended.
  gathering(context& inner, std::span<promise_base* const> children, bool stop_after_first = false)
      : ending(&gathering::child_ended), inner_(inner), stop_after_first_(stop_after_first), started_(children) {}

  std::size_t first() const { return first_; }

  bool await_ready() const noexcept { return started_.empty(); }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> parent) {
    start(parent.promise());
    return true;
  }
  void await_resume() const noexcept {}

 private:
  void start(promise_base& parent);
  static void child_ended(ending& self, promise_base& child);

  context& inner_;
  bool stop_after_first_;
  std::span<promise_base* const> started_;
  std::size_t left_ = 0;
  std::size_t first_ = 0;
  promise_base* parent_ = nullptr;
};

template <class T>
std::vector<promise_base*> promises_of(std::vector<task<T>>& works) {
  std::vector<promise_base*> all;
  all.reserve(works.size());
  for (task<T>& work : works) all.push_back(&work.promise());
  return all;
}

class deadline_guard : private timer_node {
 public:
  explicit deadline_guard(nanos deadline);
  ~deadline_guard();
  context& inner() { return inner_; }
  bool expired() const { return expired_; }

 private:
  static void on_time(timer_node& node);
  context inner_;
  bool expired_ = false;
};

Error deadline_error();
time_point current_time();

}  // namespace detail

// Every outcome, in the order of the tasks. A failure of one does not stop the others; stopping the awaiting task stops all.
template <class T>
task<std::vector<outcome<T>>> when_all(std::vector<task<T>> works) {
  context inner(detail::current_context());
  const auto children = detail::promises_of(works);
  detail::gathering together(inner, children);
  co_await together;
  std::vector<outcome<T>> results;
  results.reserve(works.size());
  for (auto& work : works) results.push_back(std::move(work.promise().result));
  co_return std::move(results);
}

template <class... T>
task<std::tuple<outcome<T>...>> when_all(task<T>... works) {
  context inner(detail::current_context());
  const std::array<detail::promise_base*, sizeof...(T)> children{&works.promise()...};
  detail::gathering together(inner, children);
  co_await together;
  std::tuple<outcome<T>...> results(std::move(works.promise().result)...);
  co_return std::move(results);
}

template <class Outcomes>
struct first_of {
  std::size_t index = 0;  // the task that ended first, whatever its outcome
  Outcomes outcomes;      // of all; the others were stopped, and may still have been fast enough for a value
};

// Ends when the first task ended and the others, stopped, have ended too.
template <class T>
task<first_of<std::vector<outcome<T>>>> when_any(std::vector<task<T>> works) {
  context inner(detail::current_context());
  const auto children = detail::promises_of(works);
  detail::gathering together(inner, children, true);
  co_await together;
  first_of<std::vector<outcome<T>>> result;
  result.index = together.first();
  for (auto& work : works) result.outcomes.push_back(std::move(work.promise().result));
  co_return std::move(result);
}

template <class... T>
task<first_of<std::tuple<outcome<T>...>>> when_any(task<T>... works) {
  context inner(detail::current_context());
  const std::array<detail::promise_base*, sizeof...(T)> children{&works.promise()...};
  detail::gathering together(inner, children, true);
  co_await together;
  first_of<std::tuple<outcome<T>...>> result;
  result.index = together.first();
  result.outcomes = std::tuple<outcome<T>...>(std::move(works.promise().result)...);
  co_return std::move(result);
}

// Stops `work` when the deadline passes and then gives an ETIMEDOUT error; what ended in time, or ended with a value after all, keeps its
// outcome. Inside, tasks run earliest deadline first and checkpoint() knows the deadline. An earlier deadline of the caller stays in force.
template <class T>
task<T> with_deadline(task<T> work, time_point deadline) {
  detail::deadline_guard guard(to_nanos(deadline));
  outcome<T> result = co_await detail::run_in<T>(guard.inner(), work);
  if (result.is_cancelled() && guard.expired()) co_return detail::deadline_error();
  co_return std::move(result);
}

template <class T>
task<T> with_timeout(task<T> work, nanoseconds at_most) {
  return with_deadline(std::move(work), from_nanos(saturating_add(to_nanos(detail::current_time()), at_most.count())));
}

}  // namespace floe::engine
