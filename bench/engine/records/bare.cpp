#include <poll.h>
#include <sys/epoll.h>

#include "bench/engine/records/records.hpp"

namespace floe::bench {

void RawReader::arm() {
  io_uring_sqe& entry = uring_.entry();
  entry.opcode = IORING_OP_POLL_ADD;
  entry.fd = ring_.doorbell();
  entry.len = IORING_POLL_ADD_MULTI;
  entry.poll32_events = POLLIN;
}

void RawReader::read_until(std::uint64_t drained) {
  while (ring_.drained() < drained) {
    uring_.enter(1);
    bool ended = false;
    uring_.walk([&](const io_uring_cqe& done) { ended |= (done.flags & IORING_CQE_F_MORE) == 0; });
    if (ended) arm();
    require(ring_.drain(), "raw io_uring: a record is wrong");
  }
}

EpollReader::EpollReader() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  require(epoll_ctl(epoll_, EPOLL_CTL_ADD, ring_.doorbell(), &event) == 0, "epoll: an eventfd was refused");
}

EpollReader::~EpollReader() {
  close(epoll_);
}

void EpollReader::read_until(std::uint64_t drained) {
  while (ring_.drained() < drained) {
    epoll_event event{};
    epoll_wait(epoll_, &event, 1, -1);
    require(ring_.drain(), "epoll: a record is wrong");
  }
}

}  // namespace floe::bench
