// worker_pool: threads for work that computes, so that the loop stays free.
//
//   worker_pool pool(2);
//   const auto hashed = co_await pool.run(work);      // work: a callable; its result, or what its Result says
//
// The task resumes on its own loop. When its context is stopped, work that has not begun is taken out of the queue; work that has begun is
// waited for, since it may use what the task owns (give it a stop_token to make it short). An exception becomes an error.
// The pool must outlive its work; any loop may use it.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/context.hpp"
#include "engine/doorbell.hpp"
#include "engine/outcome.hpp"
#include "engine/task.hpp"

namespace floe::engine {

class worker_pool;

namespace detail {

class pool_job : protected note, private stop_hook {
 public:
  explicit pool_job(worker_pool& pool) : note(&pool_job::on_finished), stop_hook(&pool_job::on_stop), pool_(pool) {}
  virtual ~pool_job() {
    if (waiter_ != nullptr) broken("a task was destroyed while a worker computes for it", waiter_->name);
  }
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    return start(task.promise());
  }

 protected:
  virtual void compute() = 0;  // on a worker thread
  bool was_stopped() const { return stopped_; }

 private:
  friend class floe::engine::worker_pool;
  bool start(promise_base& task);
  static void on_finished(note& what);
  static void on_stop(stop_hook& hook);

  worker_pool& pool_;
  promise_base* waiter_ = nullptr;
  std::shared_ptr<doorbell> bell_;
  pool_job* after_ = nullptr;
  bool stopped_ = false;
};

template <class R>
struct job_result {
  using type = R;
};
template <class T>
struct job_result<Result<T>> {
  using type = T;
};
template <class T>
struct job_result<outcome<T>> {
  using type = T;
};

template <class F>
class typed_job final : public pool_job {
  using returned = std::invoke_result_t<F&>;
  using value = typename job_result<returned>::type;

 public:
  typed_job(worker_pool& pool, F work) : pool_job(pool), work_(std::move(work)) {}
  outcome<value> await_resume() {
    if (was_stopped()) return cancelled;
    return std::move(result_);
  }

 private:
  void compute() override {
    try {
      if constexpr (std::is_void_v<returned>) {
        work_();
        result_ = outcome<value>(ok);
      } else {
        result_ = outcome<value>(work_());
      }
    } catch (...) {
      result_ = outcome<value>(error_from_current_exception());
    }
  }
  F work_;
  outcome<value> result_;
};

}  // namespace detail

class worker_pool {
 public:
  explicit worker_pool(unsigned threads);
  ~worker_pool();  // all work must have ended
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;

  // Awaitable. Keep the callable and what it refers to alive in the awaiting task.
  template <class F>
  detail::typed_job<std::decay_t<F>> run(F&& work) {
    return detail::typed_job<std::decay_t<F>>(*this, std::forward<F>(work));
  }

  unsigned threads() const { return static_cast<unsigned>(workers_.size()); }
  std::size_t queued() const;
  std::uint64_t finished() const;

 private:
  friend class detail::pool_job;
  void enqueue(detail::pool_job& job);
  bool take_out(detail::pool_job& job);
  void work();

  mutable std::mutex mutex_;
  std::condition_variable more_;
  detail::pool_job* first_ = nullptr;
  detail::pool_job* last_ = nullptr;
  std::size_t queued_ = 0;
  std::uint64_t finished_ = 0;
  bool closing_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace floe::engine
