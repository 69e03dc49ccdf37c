// io_uring without any library: the strongest baseline that one thread can have. Its advantages, all of them: the same set-up flags as the
// engine's (SINGLE_ISSUER, DEFER_TASKRUN, NO_SQARRAY where the kernel has them; the ring's descriptor registered; no iowait accounting),
// the system call in the caller's own code (after one a CPU guesses the first return wrong: some 80 ns), entries filled in place, the
// completion queue's head written once per batch, and no deadlines, stops, timers or tasks to think of.
#pragma once

#include <linux/io_uring.h>

#include <cstdint>
#include <string>

namespace floe::bench {

class RawRing {
 public:
  explicit RawRing(unsigned entries = 256, unsigned completions = 4096);
  ~RawRing();
  RawRing(const RawRing&) = delete;
  RawRing& operator=(const RawRing&) = delete;

  // A cleared entry to fill. When the queue is full, what is there is submitted first.
  io_uring_sqe& entry() {
    if (tail_ - __atomic_load_n(sq_head_, __ATOMIC_RELAXED) == entries_) enter(0);
    io_uring_sqe& fresh = sqes_[tail_++ & sq_mask_];
    __builtin_memset(&fresh, 0, sizeof fresh);
    return fresh;
  }

  // Submits everything and waits for so many completions.
  [[gnu::always_inline]] inline void enter(unsigned wait_for) {
    __atomic_store_n(sq_tail_, tail_, __ATOMIC_RELEASE);
    const unsigned submit = tail_ - __atomic_load_n(sq_head_, __ATOMIC_RELAXED);
    if (const long result = system_call(submit, wait_for); result < 0) [[unlikely]]
      check(result);
  }

  bool has_completion() const { return *cq_head_ != __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE); }
  // Calls each(completion) for all there are; returns how many.
  template <class Each>
  unsigned walk(Each each) {
    unsigned head = *cq_head_;
    const unsigned begin = head;
    const unsigned end = __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE);
    for (; head != end; ++head) each(cqes_[head & cq_mask_]);
    __atomic_store_n(cq_head_, head, __ATOMIC_RELEASE);
    return end - begin;
  }

  int descriptor() const { return fd_; }

 private:
  [[gnu::always_inline]] inline long system_call(long submit, long wait_for) {
    long result = kEnterCall;
    register long flags asm("r10") = enter_flags_;
    register long no_argument asm("r8") = 0;
    register long no_size asm("r9") = 0;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(static_cast<long>(enter_fd_)), "S"(submit), "d"(wait_for), "r"(flags), "r"(no_argument), "r"(no_size)
                 : "rcx", "r11", "memory");
    return result;
  }
  static void check(long result);          // EINTR is no failure
  static constexpr long kEnterCall = 426;  // __NR_io_uring_enter

  bool set_up(unsigned entries, unsigned completions, unsigned flags);

  int fd_ = -1;
  int enter_fd_ = -1;  // the registered index, or fd_
  unsigned enter_flags_ = 0;
  unsigned entries_ = 0, sq_mask_ = 0, cq_mask_ = 0;
  unsigned tail_ = 0;
  unsigned *sq_head_ = nullptr, *sq_tail_ = nullptr, *cq_head_ = nullptr, *cq_tail_ = nullptr;
  io_uring_sqe* sqes_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  void* rings_ = nullptr;
  std::size_t rings_bytes_ = 0, sqes_bytes_ = 0;
};

}  // namespace floe::bench
