#include "bench/engine/bare.hpp"

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "bench/engine/measure.hpp"

namespace floe::bench {

struct bare_ring::state {
  io_uring ring{};
};

bare_ring::bare_ring() : state_(std::make_unique<state>()) {
  for (const unsigned flags : {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0U}) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CQSIZE;
    params.cq_entries = 4096;
    if (io_uring_queue_init_params(256, &state_->ring, &params) == 0) {
      io_uring_register_ring_fd(&state_->ring);
      return;
    }
  }
  std::perror("io_uring");
  std::exit(71);
}

bare_ring::~bare_ring() {
  io_uring_queue_exit(&state_->ring);
}

void bare_ring::nops(std::uint64_t count, unsigned depth) {
  io_uring* const ring = &state_->ring;
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  while (completed < count) {
    while (submitted < count && submitted - completed < depth) {
      io_uring_sqe* const entry = io_uring_get_sqe(ring);
      if (entry == nullptr) break;
      io_uring_prep_nop(entry);
      entry->user_data = submitted++;
    }
    io_uring_submit_and_wait(ring, 1);
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* done = nullptr;
    io_uring_for_each_cqe(ring, head, done) {
      if (done->res != 0) std::abort();
      ++seen;
    }
    io_uring_cq_advance(ring, seen);
    completed += seen;
  }
}

namespace {

struct bare_frame {
  bare_frame* next;
};
constinit thread_local bare_frame* free_frames = nullptr;

struct bare_task {
  struct promise_type {
    static void* operator new(std::size_t bytes) {
      if (free_frames == nullptr || bytes > 256) return std::malloc(bytes > 256 ? bytes : 256);
      return std::exchange(free_frames, free_frames->next);
    }
    static void operator delete(void* frame, std::size_t) {
      auto* const freed = static_cast<bare_frame*>(frame);
      freed->next = free_frames;
      free_frames = freed;
    }
    bare_task get_return_object() { return bare_task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct final_awaiter {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept { return ended.promise().continuation; }
      void await_resume() noexcept {}
    };
    final_awaiter final_suspend() noexcept { return {}; }
    void unhandled_exception() { std::abort(); }
    void return_value(std::uint64_t number) { value = number; }
    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::uint64_t value = 0;
  };
  explicit bare_task(std::coroutine_handle<promise_type> made) : coroutine(made) {}
  bare_task(bare_task&& other) noexcept : coroutine(std::exchange(other.coroutine, nullptr)) {}
  ~bare_task() {
    if (coroutine) coroutine.destroy();
  }
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
    coroutine.promise().continuation = parent;
    return coroutine;
  }
  std::uint64_t await_resume() const noexcept { return coroutine.promise().value; }
  std::coroutine_handle<promise_type> coroutine;
};

bare_task bare_number(std::uint64_t number) {
  co_return number;
}

bare_task bare_sum(std::uint64_t count) {
  std::uint64_t sum = 0;
  for (std::uint64_t number = 0; number < count; ++number) {
    const std::uint64_t got = co_await bare_number(number);
    sum += got;
  }
  co_return sum;
}

}  // namespace

std::uint64_t bare_tasks(std::uint64_t count) {
  bare_task all = bare_sum(count);
  all.coroutine.resume();
  return all.coroutine.promise().value;
}

namespace {
struct bare_item {
  std::uint64_t number;
  bare_item* next;
};
}  // namespace

std::uint64_t bare_posts(std::uint64_t count, double& poster_nanos) {
  std::atomic<bare_item*> top{nullptr};
  std::atomic<bool> parked{false};
  const int event = eventfd(0, EFD_CLOEXEC);
  std::vector<bare_item> items(count);
  std::thread poster([&] {
    const double began = thread_cpu_nanos();
    for (std::uint64_t number = 0; number < count; ++number) {
      bare_item& item = items[number];
      item.number = number;
      item.next = top.load(std::memory_order_relaxed);
      while (!top.compare_exchange_weak(item.next, &item, std::memory_order_seq_cst, std::memory_order_relaxed)) {
      }
      if (parked.load(std::memory_order_seq_cst) && parked.exchange(false, std::memory_order_seq_cst)) eventfd_write(event, 1);
    }
    poster_nanos = thread_cpu_nanos() - began;
  });
  std::uint64_t sum = 0;
  for (std::uint64_t received = 0; received < count;) {
    bare_item* taken = top.exchange(nullptr, std::memory_order_acquire);
    for (; taken != nullptr; taken = taken->next, ++received) sum += taken->number;
    if (received == count) break;
    parked.store(true, std::memory_order_seq_cst);
    if (top.load(std::memory_order_seq_cst) == nullptr) {
      eventfd_t value = 0;
      eventfd_read(event, &value);
    }
    parked.store(false, std::memory_order_relaxed);
  }
  poster.join();
  close(event);
  return sum;
}

}  // namespace floe::bench
