// What travels with a running task: whether it was told to stop, and until when it has time.
//
// A context is one node of a tree. A task that awaits another lends it its own context (one pointer copied); scope, with_deadline,
// with_stop and when_any make a child context. Stopping a context stops everything below it; a child's deadline is never later than
// its parent's. Everything here belongs to the loop's thread, except stop_requested(), which any thread may ask.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <limits>

namespace floe::engine {

class loop;
class context;

// Nanoseconds of CLOCK_MONOTONIC (or of the manual clock).
using nanos = std::int64_t;
inline constexpr nanos kNever = std::numeric_limits<nanos>::max();

namespace detail {

class operation;

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

// The part of every promise that the engine knows: whom to resume, in which context, under which name, what it waits for, and who waits for
// its end. Members without initialiser are set by whoever starts the task: an awaiting parent sets the continuation, everybody else
// on_done.
//
// A context knows only the tasks that were started in it, not each that waits. A stop goes from those down `child` to the one that waits.
// So an operation costs one store here instead of a place in a list, whose neighbours would be cold. Its completion carries the address of
// the promise, whose first cache line has what resuming needs.
struct promise_base {
  promise_base* next;  // link of the ready set; of the graveyard after the end
  std::coroutine_handle<> self;
  context* ctx;
  const char* name;
  promise_base* child = nullptr;   // the task that this one awaits, in the same context
  stop_hook* waiting = nullptr;    // what this one waits in, if that can be stopped
  operation* operating = nullptr;  // or the operation in flight: until its completion, stopped or not
  std::coroutine_handle<> continuation;
  void (*on_done)(promise_base& child, void* owner);  // instead of a continuation: scopes, when_all, run
  void* owner;
  link root;  // place among the tasks started in ctx

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
  bool stop_requested() const { return stopped_.load(std::memory_order_relaxed); }
  void request_stop();

  // A task started here (not awaited by one that runs here) must be known until it has ended.
  void add_root(detail::promise_base& task) { task.root.put_in(roots_); }
  static void remove_root(detail::promise_base& task) { task.root.take_out(); }

 private:
  struct place : detail::link {
    context* self;
  };

  loop* owner_;
  nanos deadline_;
  std::atomic<bool> stopped_{false};
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
