#include "bench/engine/nop/nop.hpp"

namespace floe::bench {

LiburingNops::LiburingNops() {
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

LiburingNops::~LiburingNops() {
  io_uring_queue_exit(&ring_);
}

void LiburingNops::run(std::uint64_t count, unsigned depth) {
  std::uint64_t submitted = 0, completed = 0;
  bool all_well = true;
  while (completed < count) {
    while (submitted < count && submitted - completed < depth) {
      io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
      if (entry == nullptr) break;
      io_uring_prep_nop(entry);
      entry->user_data = ++submitted;
    }
    io_uring_submit_and_wait(&ring_, 1);
    unsigned head = 0, seen = 0;
    io_uring_cqe* done = nullptr;
    io_uring_for_each_cqe(&ring_, head, done) {
      all_well &= done->res == 0;
      ++seen;
    }
    io_uring_cq_advance(&ring_, seen);
    completed += seen;
  }
  require(all_well && completed == count, "liburing: a nop failed");
}

}  // namespace floe::bench
