// What most programs would write: liburing, with the best flags that its version can set up. The same interface as RawRing, so that a
// task's code is the same for both and only the ring differs.
#pragma once

#include <liburing.h>

#include "bench/engine/bench.hpp"

namespace floe::bench {

class LiburingRing {
 public:
  LiburingRing() {
    bool open = false;
    for (const unsigned flags : {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0U}) {
      io_uring_params params{};
      params.flags = flags | IORING_SETUP_CQSIZE;
      params.cq_entries = 4096;
      open = io_uring_queue_init_params(256, &ring_, &params) == 0;
      if (open) break;
    }
    require(open, "liburing cannot set up a ring");
    io_uring_register_ring_fd(&ring_);
  }
  ~LiburingRing() { io_uring_queue_exit(&ring_); }
  LiburingRing(const LiburingRing&) = delete;
  LiburingRing& operator=(const LiburingRing&) = delete;

  io_uring_sqe& entry() {
    io_uring_sqe* fresh = io_uring_get_sqe(&ring_);
    while (fresh == nullptr) {
      io_uring_submit(&ring_);
      fresh = io_uring_get_sqe(&ring_);
    }
    __builtin_memset(fresh, 0, sizeof *fresh);
    return *fresh;
  }
  void enter(unsigned wait_for) { io_uring_submit_and_wait(&ring_, wait_for); }

  template <class Each>
  unsigned walk(Each each) {
    unsigned head = 0, seen = 0;
    io_uring_cqe* done = nullptr;
    io_uring_for_each_cqe(&ring_, head, done) {
      each(*done);
      ++seen;
    }
    io_uring_cq_advance(&ring_, seen);
    return seen;
  }

 private:
  io_uring ring_{};
};

}  // namespace floe::bench
