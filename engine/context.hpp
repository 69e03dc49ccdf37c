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

// Something that waits and can be told to stop: a pending operation, a timer, a child context. Linked into its context meanwhile.
struct stop_hook {
  using action = void (*)(stop_hook&);
  explicit stop_hook(action what) : fire(what) {}
  stop_hook(const stop_hook&) = delete;
  stop_hook& operator=(const stop_hook&) = delete;

  bool linked() const { return next != nullptr; }
  void unlink() {
    prev->next = next;
    next->prev = prev;
    next = nullptr;
  }

  action fire;
  stop_hook* prev = nullptr;
  stop_hook* next = nullptr;
};

}  // namespace detail

class context : private detail::stop_hook {
 public:
  // A child of `parent`, with an own deadline if it is the earlier one.
  explicit context(context& parent, nanos deadline = kNever);
  // A root: neither stop nor deadline reaches it from elsewhere.
  explicit context(loop& owner, nanos deadline = kNever);
  ~context();

  loop& owner() const { return *owner_; }
  nanos deadline() const { return deadline_; }
  bool stop_requested() const { return stopped_.load(std::memory_order_relaxed); }
  void request_stop();

  void add(detail::stop_hook& hook) {
    hook.prev = &waiting_;
    hook.next = waiting_.next;
    waiting_.next->prev = &hook;
    waiting_.next = &hook;
  }

 private:
  static void stop_child(detail::stop_hook& hook);

  loop* owner_;
  nanos deadline_;
  std::atomic<bool> stopped_{false};
  detail::stop_hook waiting_{nullptr};  // ring of everything that waits in this context
};

namespace detail {

// The part of every promise that the engine knows: whom to resume, in which context, under which name, and who waits for the end.
struct promise_base {
  promise_base* next = nullptr;  // link of the ready set; of the graveyard after the end
  std::coroutine_handle<> self;
  context* ctx = nullptr;
  const char* name = nullptr;
  std::coroutine_handle<> continuation;
  void (*on_done)(promise_base& child, void* owner) = nullptr;  // instead of a continuation: scopes, when_all, run
  void* owner = nullptr;

  nanos deadline() const { return ctx->deadline(); }
};

// A broken promise of our own (a scope destroyed with children, an operation destroyed in flight) would let the kernel write into freed
// memory. It ends the program, in release builds too.
[[noreturn]] void broken(const char* what, const char* name = nullptr);

}  // namespace detail
}  // namespace floe::engine
