// What travels with a running task: whether it was told to stop, and until when it has time.
//
// A context is one node of a tree. A task that awaits another lends it its own context (one pointer copied); scope, with_deadline,
// with_stop and when_any make a child context. Stopping a context stops everything below it; a child's deadline is never later than
// its parent's. Everything here belongs to the loop's thread, except stop_requested(), which any thread may ask.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace floe::engine {

class loop;
class context;

// Nanoseconds of CLOCK_MONOTONIC (or of the manual clock).
using nanos = std::int64_t;
inline constexpr nanos kNever = std::numeric_limits<nanos>::max();

// What a task is called in reports. A literal is used where it stands; of anything else the loop keeps a copy.
class task_name {
 public:
  template <std::size_t N>
  consteval task_name(const char (&literal)[N]) : text_(literal, N - 1), literal_(true) {}
  task_name(std::string_view text) : text_(text) {}
  task_name(const std::string& text) : text_(text) {}

  std::string_view text() const { return text_; }
  bool is_literal() const { return literal_; }

 private:
  std::string_view text_;
  bool literal_ = false;
};

namespace detail {

class operation;
struct promise_base;

// Something a task waits in and that can be told to stop: a timer, a mailbox, a worker's job. (Operations of the ring do without one.)
struct stop_hook {
  using action = void (*)(stop_hook&);
  explicit stop_hook(action what) : fire(what) {}
  stop_hook(const stop_hook&) = delete;
  stop_hook& operator=(const stop_hook&) = delete;

  action fire;
};

// A place in a ring of things of one kind.
struct link {
  link* before;
  link* after;

  void close() { before = after = this; }  // the head of an empty ring
  bool empty() const { return after == this; }
  void put_in(link& head) {
    before = &head;
    after = head.after;
    head.after->before = this;
    head.after = this;
  }
  void take_out() {
    before->after = after;
    after->before = before;
  }
};

// Whoever started a task that nobody awaits (scope, when_all, run) and is told that it has ended, once nothing of it is on the stack: its
// frame may be destroyed then.
struct ending {
  using action = void (*)(ending& self, promise_base& ended);
  explicit ending(action what) : on_end(what) {}
  ending(const ending&) = delete;
  ending& operator=(const ending&) = delete;

  action on_end;
};

// What a suspended task waits for, so that a stop finds it: a task that it awaits in the same context, a hook, an operation in flight
// (until its completion, stopped or not), or nothing that can be stopped; or it has yet to begin. One word, since each await writes it
// twice.
class awaited {
 public:
  void clear() { word_ = 0; }
  void set_to_begin() { word_ = kToBegin; }
  bool to_begin() const { return word_ == kToBegin; }
  void set(promise_base& child) { word_ = reinterpret_cast<std::uintptr_t>(&child); }
  void set(stop_hook& hook) { word_ = reinterpret_cast<std::uintptr_t>(&hook) | kHook; }
  void set(operation& in_flight) { word_ = reinterpret_cast<std::uintptr_t>(&in_flight) | kOperation; }

  // Null where it is something else.
  promise_base* child() const { return (word_ & kKinds) == 0 ? reinterpret_cast<promise_base*>(word_) : nullptr; }
  stop_hook* hook() const { return (word_ & kKinds) == kHook ? reinterpret_cast<stop_hook*>(word_ & ~kKinds) : nullptr; }
  operation* in_flight() const { return (word_ & kOperation) != 0 ? known_in_flight() : nullptr; }
  // Where nothing else can be.
  operation* known_in_flight() const { return reinterpret_cast<operation*>(word_ - kOperation); }

 private:
  static constexpr std::uintptr_t kHook = 1, kOperation = 2, kKinds = 3;
  static constexpr std::uintptr_t kToBegin = 3;
  std::uintptr_t word_ = 0;
};

// What a task has in common with those that it awaits. Together, since each await copies them: 16 bytes at once.
struct surroundings {
  context* ctx;
  const char* name;
};

// The part of every promise that the engine knows: whom to resume, in which context, under which name, what it waits for, and who waits for
// its end. Members without initialiser are set by whoever starts the task: an awaiting parent sets `parent`, everybody else clears it and
// sets at_end.
//
// A context knows only the tasks that were started in it, not each that waits. A stop goes from those down from child to child to the one
// that waits. So an operation costs one store here instead of a place in a list, whose neighbours would be cold. Its completion carries the
// address of the promise, which lies behind the frame's two pointers: one cache line has all that resuming needs.
struct promise_base : surroundings {
  awaited waits_for;
  promise_base* parent;  // the task that awaits this one
  promise_base* next;    // in the ready set
  ending* at_end;        // without a parent: whom to tell of the end
  struct place : link {
    promise_base* task;
  };
  place root;  // among the tasks started in ctx

  // Every promise begins with this part and is aligned to 16 bytes at most (task.hpp asserts it), so its place in the frame is the same.
  std::coroutine_handle<> handle() { return std::coroutine_handle<promise_base>::from_promise(*this); }
  inline nanos deadline() const;
};

}  // namespace detail

class context {
 public:
  // A child of `parent`, with an own deadline if it is the earlier one.
  explicit context(context& parent, nanos deadline = kNever);
  // A root: neither stop nor deadline reaches it from elsewhere.
  explicit context(loop& owner, nanos deadline = kNever);
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  loop& owner() const { return *owner_; }
  nanos deadline() const { return deadline_; }
  bool has_deadline() const { return has_deadline_; }
  bool stop_requested() const { return stopped_.load(std::memory_order_relaxed); }
  void request_stop();

  // A task started here (not awaited by one that runs here) must be known from where it first waits until it has ended. One that has yet to
  // begin, or does not wait at all, has nothing that a stop could reach.
  void add_root(detail::promise_base& task) {
    task.root.task = &task;
    task.root.put_in(roots_);
  }
  static void remove_root(detail::promise_base& task) { task.root.take_out(); }
  // The loop takes it out and tells whoever started it, once nothing of it is on the stack.
  void root_ended(detail::promise_base& task) { *ended_ = &task; }

 private:
  struct place : detail::link {
    context* self;
  };

  loop* owner_;
  detail::promise_base** ended_;  // where the loop looks for a task that has
  nanos deadline_;
  std::atomic<bool> stopped_{false};
  bool has_deadline_;
  bool has_parent_ = false;
  place in_parent_;
  detail::link children_;
  detail::link roots_;
};

inline nanos detail::promise_base::deadline() const {
  return ctx->deadline();
}

namespace detail {

// A broken promise of our own (a scope destroyed with children, an operation destroyed in flight) would let the kernel write into freed
// memory. It ends the program, in release builds too.
[[noreturn]] void broken(const char* what, const char* name = nullptr);

}  // namespace detail
}  // namespace floe::engine
