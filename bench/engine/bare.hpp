// The smallest lazy coroutine with a pooled frame: no error, no stop, no context, no name. What the language itself costs.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace floe::bench {

// Frames of at most kFrame bytes in one free list, without bound; larger ones (of a main task) come from malloc.
class BarePool {
 public:
  static void* take() {
    if (free_ == nullptr) return std::malloc(kFrame);
    return std::exchange(free_, free_->next);
  }
  static void give(void* frame) { free_ = ::new (frame) Free{free_}; }
  static bool has_free() { return free_ != nullptr; }
  static void trim() {
    while (free_ != nullptr) std::free(take());
  }
  static constexpr std::size_t kFrame = 128;

 private:
  struct Free {
    Free* next;
  };
  static inline constinit thread_local Free* free_ = nullptr;
};

class BareTask {
 public:
  struct promise_type {
    static void* operator new(std::size_t bytes) { return bytes > BarePool::kFrame ? std::malloc(bytes) : BarePool::take(); }
    static void operator delete(void* frame, std::size_t bytes) { bytes > BarePool::kFrame ? std::free(frame) : BarePool::give(frame); }
    BareTask get_return_object() { return BareTask(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept { return ended.promise().continuation; }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    // A way out of a loop around co_await. Without one, clang lays the frame of what is awaited into its parent's, and nothing is pooled.
    void unhandled_exception() { throw; }
    void return_value(std::uint64_t number) { value = number; }

    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::uint64_t value = 0;
    promise_type* next = nullptr;  // in a BareQueue
  };
  using Handle = std::coroutine_handle<promise_type>;

  BareTask() = default;
  explicit BareTask(Handle coroutine) : coroutine_(coroutine) {}
  BareTask(BareTask&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  BareTask& operator=(BareTask&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~BareTask() {
    if (coroutine_) coroutine_.destroy();
  }

  struct Awaiter {
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
      child.promise().continuation = parent;
      return child;
    }
    std::uint64_t await_resume() const noexcept { return child.promise().value; }
    Handle child;
  };
  Awaiter operator co_await() const noexcept { return {coroutine_}; }

  promise_type& promise() const { return coroutine_.promise(); }
  Handle release() { return std::exchange(coroutine_, nullptr); }
  std::uint64_t run() {
    coroutine_.resume();
    return coroutine_.promise().value;
  }

 private:
  Handle coroutine_;
};

using BarePromise = BareTask::promise_type;

// First come, first served, linked through the promises.
class BareQueue {
 public:
  bool empty() const { return head_ == nullptr; }
  void push(BarePromise& task) {
    task.next = nullptr;
    if (head_ == nullptr) {
      head_ = &task;
    } else {
      tail_->next = &task;
    }
    tail_ = &task;
  }
  BarePromise& pop() {
    BarePromise& task = *head_;
    head_ = task.next;
    return task;
  }

 private:
  BarePromise* head_ = nullptr;
  BarePromise* tail_ = nullptr;
};

}  // namespace floe::bench
