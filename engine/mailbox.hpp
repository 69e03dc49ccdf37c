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

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
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
// it is empty (taking all at once is what makes a lock-free list safe from ABA).
template <class Node>
class node_cache {
 public:
  static Node* take() {
    list& own = local();
    if (own.head == nullptr) {
      own.head = returned_.exchange(nullptr, std::memory_order_acquire);
      if (own.head == nullptr) return new Node;
    }
    Node* node = own.head;
    own.head = node->after;
    return node;
  }
  static void give(Node* node) {
    Node* top = returned_.load(std::memory_order_relaxed);
    do {
      node->after = top;
    } while (!returned_.compare_exchange_weak(top, node, std::memory_order_release, std::memory_order_relaxed));
  }

 private:
  struct list {
    Node* head = nullptr;
    ~list() {
      while (head != nullptr) give(std::exchange(head, head->after));  // a thread that ends leaves its nodes to the others
    }
  };
  static list& local() {
    static thread_local list own;
    return own;
  }
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
  }

  // Any thread. False: refused (closed or full), and counted.
  bool post(T item) {
    if (closed_.load(std::memory_order_acquire) || size_.fetch_add(1, std::memory_order_relaxed) >= capacity_) {
      if (!closed_.load(std::memory_order_relaxed)) size_.fetch_sub(1, std::memory_order_relaxed);
      refused_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    node* fresh = cache::take();
    fresh->item = std::move(item);
    node* top = incoming_.load(std::memory_order_relaxed);
    do {
      fresh->after = top;
    } while (!incoming_.compare_exchange_weak(top, fresh, std::memory_order_release, std::memory_order_relaxed));
    posted_.fetch_add(1, std::memory_order_relaxed);
    announce();
    return true;
  }

  // Any thread.
  void close() {
    if (!closed_.exchange(true, std::memory_order_acq_rel)) announce();
  }
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }
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
    if (outgoing_ == nullptr) return nullptr;
    return std::exchange(outgoing_, outgoing_->after);
  }
  void discard(node* used) {
    size_.fetch_sub(1, std::memory_order_relaxed);
    used->item = T();
    cache::give(used);
  }

  std::size_t capacity_;
  std::atomic<node*> incoming_{nullptr};
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> posted_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<bool> closed_{false};
  node* outgoing_ = nullptr;
};

}  // namespace floe::engine
