#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/engine/burst/burst.hpp"

namespace floe::bench {

Eventfds::Eventfds() {
  for (int& fd : fds_) require((fd = eventfd(0, EFD_CLOEXEC)) >= 0, "no eventfd");
}

Eventfds::~Eventfds() {
  for (const int fd : fds_) close(fd);
}

void Eventfds::signal_all() const {
  for (const int fd : fds_) eventfd_write(fd, 1);
}

Urgent raw_burst(RawRing& ring, const Eventfds& events, unsigned urgent) {
  std::array<std::uint64_t, kBurst> values{};
  for (unsigned index = 0; index < kBurst; ++index) {
    io_uring_sqe& entry = ring.entry();
    entry.opcode = IORING_OP_READ;
    entry.fd = events[index];
    entry.addr = reinterpret_cast<std::uint64_t>(&values[index]);
    entry.len = sizeof values[index];
    entry.off = ~std::uint64_t{0};
    entry.user_data = index;
  }
  ring.enter(0);
  events.signal_all();
  Urgent found;
  unsigned seen = 0, batches = 0;
  while (seen < kBurst) {
    ring.enter(1);
    ++batches;
    ring.walk([&](const io_uring_cqe& done) {
      require(done.res == sizeof values[0] && values[done.user_data] == 1, "raw io_uring: a read failed");
      if (done.user_data == urgent) found = {static_cast<double>(batches), static_cast<double>(seen)};
      ++seen;
    });
  }
  return found;
}

}  // namespace floe::bench
