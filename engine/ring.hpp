// One io_uring, driven without liburing's submit path (liburing sets it up and maps it). Private to the engine.
//
// Kernel interface: include/uapi/linux/io_uring.h. Debian 12's header and liburing 2.3 are older than the kernels floe runs on, so the
// newer constants stand here and every feature is asked for at run time. The ring is created disabled and enabled by the thread that
// will drive it (SINGLE_ISSUER binds it to the enabling task).
#pragma once

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/context.hpp"
#include "engine/request.hpp"

namespace floe::engine::detail {

inline constexpr unsigned kEnterAbsTimer = 1U << 5;  // IORING_ENTER_ABS_TIMER, Linux 6.12
inline constexpr unsigned kEnterNoIowait = 1U << 7;  // IORING_ENTER_NO_IOWAIT, Linux 6.15
inline constexpr unsigned kFeatNoIowait = 1U << 17;  // IORING_FEAT_NO_IOWAIT

// The completion queue, by value: its addresses stay in registers while completions are walked.
struct completion_queue {
  unsigned* head = nullptr;
  const unsigned* tail = nullptr;
  const io_uring_cqe* entries = nullptr;
  unsigned mask = 0;

  unsigned newest() const { return __atomic_load_n(tail, __ATOMIC_ACQUIRE); }
  unsigned oldest() const { return *head; }
  // To be read before release(), which gives back the places before `next`.
  const io_uring_cqe& at(unsigned position) const { return entries[position & mask]; }
  void release(unsigned next) const { __atomic_store_n(head, next, __ATOMIC_RELEASE); }
};

// io_uring_enter(2); gives 0 or the errno. Inline down to the instruction: the kernel leaves the processor's return predictor full of its
// own addresses, so that each `ret` on the way out of a function around the system call is mispredicted (5 ns here, and liburing's way out
// has several).
[[gnu::always_inline]] inline int enter_ring(int fd, unsigned submit, unsigned wait_for, unsigned flags, const void* arg,
                                             std::size_t size) {
#if defined(__x86_64__)
  register long r10 asm("r10") = static_cast<long>(flags);
  register const void* r8 asm("r8") = arg;
  register std::size_t r9 asm("r9") = size;
  long result = __NR_io_uring_enter;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(static_cast<long>(fd)), "S"(static_cast<long>(submit)), "d"(static_cast<long>(wait_for)), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result < 0 ? static_cast<int>(-result) : 0;
#else
  return syscall(__NR_io_uring_enter, fd, submit, wait_for, flags, arg, size) < 0 ? errno : 0;
#endif
}

class ring {
 public:
  ring() = default;
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;
  ~ring();

  Result<> open(unsigned entries, unsigned completions);
  // On the driving thread, once, before the first enter.
  Result<> enable();

  bool supports(std::uint8_t opcode) const { return opcode < 64 && ((opcodes_ >> opcode) & 1) != 0; }
  unsigned setup_flags() const { return ring_.flags; }
  bool has_absolute_wait() const { return absolute_wait_; }
  bool has_no_iowait() const { return (enter_flags_ & kEnterNoIowait) != 0; }
  io_uring* native() { return &ring_; }

  void describe(submission_queue& queue) const;
  // The limit, from what the kernel has consumed.
  void refresh(submission_queue& queue) const { queue.limit = __atomic_load_n(ring_.sq.khead, __ATOMIC_ACQUIRE) + ring_.sq.ring_entries; }
  unsigned unsubmitted(const submission_queue& queue) const { return queue.tail - __atomic_load_n(ring_.sq.khead, __ATOMIC_ACQUIRE); }

  // The table of fixed files.
  static constexpr unsigned kFixedFiles = 256;
  Result<unsigned> add_file(int fd);
  void remove_file(unsigned place);

  // Work that shows only when we enter: deferred completions (SQ flag TASKRUN) or an overflown completion queue.
  bool kernel_has_more() const {
    return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  bool overflown() const { return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0; }
  bool has_completion() const { return completions_.newest() != *completions_.head; }
  completion_queue completions() const { return completions_; }

  // Submits what is queued and takes in what has completed; wait() also waits for one completion, until `deadline` (CLOCK_MONOTONIC;
  // kNever: for ever). Return 0, or the errno: EINTR, ETIME, EBUSY and EAGAIN are for the caller to act on.
  [[gnu::always_inline]] int submit(submission_queue& queue) {
    publish(queue);
    const int error = enter(unsubmitted(queue), 0, enter_flags_ | IORING_ENTER_GETEVENTS, nullptr, 0);
    refresh(queue);
    return error;
  }
  int wait(submission_queue& queue, nanos deadline);

 private:
  void publish(const submission_queue& queue) { __atomic_store_n(ring_.sq.ktail, queue.tail, __ATOMIC_RELEASE); }
  [[gnu::always_inline]] int enter(unsigned submit, unsigned wait_for, unsigned flags, const void* arg, std::size_t size) const {
    return enter_ring(enter_fd_, submit, wait_for, flags, arg, size);
  }
  bool probe_absolute_wait() const;
  void restore_header(const io_uring_params& params);

  io_uring ring_{};
  completion_queue completions_;
  bool open_ = false;
  bool enabled_ = false;
  bool absolute_wait_ = false;
  unsigned enter_flags_ = 0;
  int enter_fd_ = -1;  // the registered index, once there is one
  std::uint64_t opcodes_ = 0;
  std::vector<unsigned> free_places_;  // of the table of fixed files
  bool has_file_table_ = false;
};

}  // namespace floe::engine::detail
