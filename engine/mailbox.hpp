// mailbox<T>: how other threads hand things to a task.
//
//   mailbox<exit_event> exits;                       // on the loop's thread
//   exits.post(event);                               // any thread: never blocks, no system call unless the loop sleeps
//   const auto event = co_await exits.receive();
//
// Items of one sender arrive in its order. Nothing is lost: post() refuses only when the mailbox is closed, or holds `capacity` items where
// one was given, and counts that. After close() what is inside is still delivered; then receive() gives an EPIPE error. One task
// receives at a time. Posting to a mailbox must have ended before it is destroyed; it may outlive its loop.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "engine/context.hpp"
#include "engine/doorbell.hpp"
#include "engine/outcome.hpp"

namespace floe::engine {

namespace detail {

// The part that does not depend on T: who waits, and how the loop is told.
class mailbox_base : private stop_hook, private note {
 public:
  explicit mailbox_base(loop& owner);
  virtual ~mailbox_base();

 protected:
  void announce();  // any thread, after an item was pushed
  bool wait(promise_base& task);
  bool was_stopped() const { return stopped_; }
  virtual bool has_item() = 0;

 private:
  static void on_note(note& what);
  static void on_stop(stop_hook& hook);

  loop* owner_;
  std::shared_ptr<class doorbell> bell_;
  std::atomic<bool> announced_{false};
  promise_base* waiter_ = nullptr;
  bool stopped_ = false;
};

loop& current_loop();
Error mailbox_closed();

// Nodes go back and forth between threads without malloc: each thread has a private list, and takes everybody's returned nodes at once when
// it is empty (taking all at once is what makes a lock-free list safe from ABA). New ones are made only when more items are on their way
// than ever before.
template <class Node>
class node_cache {
 public:
  static Node* take() {
    Node* const node = own_;
    if (node == nullptr) [[unlikely]]
      return take_returned();
    own_ = node->after;
    return node;
  }
  // A chain from `first` to `last`.
  static void give(Node* first, Node* last) {
    Node* top = returned_.load(std::memory_order_relaxed);
    do {
      last->after = top;
    } while (!returned_.compare_exchange_weak(top, first, std::memory_order_release, std::memory_order_relaxed));
  }

 private:
  struct leaver {
    bool here = false;
    ~leaver() {  // a thread that ends leaves its nodes to the others
      Node* const first = std::exchange(own_, nullptr);
      if (first == nullptr) return;
      Node* last = first;
      while (last->after != nullptr) last = last->after;
      give(first, last);
    }
  };
  [[gnu::noinline]] static Node* take_returned() {
    static thread_local leaver at_exit;
    at_exit.here = true;
    Node* const node = returned_.exchange(nullptr, std::memory_order_acquire);
    if (node == nullptr) return new Node;
    own_ = node->after;
    return node;
  }

  static inline constinit thread_local Node* own_ = nullptr;
  static inline std::atomic<Node*> returned_{nullptr};
};

}  // namespace detail

template <class T>
class mailbox : private detail::mailbox_base {
 public:
  static constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

  explicit mailbox(std::size_t capacity = kUnbounded) : mailbox(detail::current_loop(), capacity) {}
  explicit mailbox(loop& owner, std::size_t capacity = kUnbounded) : mailbox_base(owner), capacity_(capacity) {}
  ~mailbox() override {
    while (node* item = pop()) discard(item);
    give_back();
  }

  // Any thread. False: refused (closed or full), and counted.
  bool post(T item) {
    if (closed_.load(std::memory_order_acquire)) return refuse();
    const std::uint64_t before = posted_.fetch_add(1, std::memory_order_relaxed);
    if (capacity_ != kUnbounded && is_full(before)) {
      posted_.fetch_sub(1, std::memory_order_relaxed);
      return refuse();
    }
    node* const fresh = cache::take();
    fresh->item = std::move(item);
    node* top = incoming_.load(std::memory_order_relaxed);
    do {
      fresh->after = top;
    } while (!incoming_.compare_exchange_weak(top, fresh, std::memory_order_acq_rel, std::memory_order_relaxed));
    // Whoever put the item below this one has announced it, or is about to: the receiver waits only when it has found the stack empty.
    if (top == nullptr) announce();
    return true;
  }

  // Any thread.
  void close() {
    if (!closed_.exchange(true, std::memory_order_acq_rel)) announce();
  }
  std::size_t size() const {
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);  // first: what is taken was posted
    return static_cast<std::size_t>(posted_.load(std::memory_order_relaxed) - taken);
  }
  std::uint64_t posted() const { return posted_.load(std::memory_order_relaxed); }
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

  // Loop's thread: an item that is there already.
  std::optional<T> try_receive() {
    node* first = pop();
    if (first == nullptr) return std::nullopt;
    std::optional<T> item(std::move(first->item));
    discard(first);
    return item;
  }

  class receiver {
   public:
    explicit receiver(mailbox& from) : from_(from) {}
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> task) {
      return from_.wait(task.promise());
    }
    outcome<T> await_resume() {
      if (from_.was_stopped()) return cancelled;
      if (std::optional<T> item = from_.try_receive()) return std::move(*item);
      return detail::mailbox_closed();
    }

   private:
    mailbox& from_;
  };
  receiver receive() { return receiver(*this); }

 private:
  struct node {
    T item;
    node* after;
  };
  using cache = detail::node_cache<node>;

  bool has_item() override {
    collect();
    return outgoing_ != nullptr || closed_.load(std::memory_order_acquire);
  }

  // What senders pushed is newest first; turn it round once per batch.
  void collect() {
    if (outgoing_ != nullptr) return;
    node* taken = incoming_.exchange(nullptr, std::memory_order_acquire);
    while (taken != nullptr) {
      node* const older = taken->after;
      taken->after = outgoing_;
      outgoing_ = taken;
      taken = older;
    }
  }
  node* pop() {
    collect();
    if (outgoing_ == nullptr) {
      give_back();
      return nullptr;
    }
    return std::exchange(outgoing_, outgoing_->after);
  }
  void discard(node* used) {
    taken_.store(taken_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    if constexpr (!std::is_trivially_destructible_v<T>) used->item = T();
    if (used_ == nullptr) last_used_ = used;
    used->after = std::exchange(used_, used);
    if (++used_count_ >= kReturnedAtOnce || outgoing_ == nullptr) give_back();
  }
  void give_back() {
    if (used_ != nullptr) cache::give(std::exchange(used_, nullptr), last_used_);
    used_count_ = 0;
  }
  // Others may have posted, and the receiver taken, more than `before` meanwhile.
  bool is_full(std::uint64_t before) const {
    const std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    return before >= taken && before - taken >= capacity_;
  }
  bool refuse() {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }

  static constexpr unsigned kReturnedAtOnce = 32;

  // What senders write and what the loop writes lie on lines of their own. (By a gap: a mailbox may be a local of a coroutine, whose frame
  // is not aligned to a line.)
  using gap = std::array<std::byte, 64>;

  std::size_t capacity_;
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<bool> closed_{false};
  [[maybe_unused]] gap before_senders_;
  std::atomic<node*> incoming_{nullptr};
  std::atomic<std::uint64_t> posted_{0};
  [[maybe_unused]] gap after_senders_;
  std::atomic<std::uint64_t> taken_{0};
  node* outgoing_ = nullptr;
  node* used_ = nullptr;
  node* last_used_ = nullptr;
  unsigned used_count_ = 0;
};

}  // namespace floe::engine
