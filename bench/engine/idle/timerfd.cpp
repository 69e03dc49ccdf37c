#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench/engine/idle/idle.hpp"

namespace floe::bench {

std::uint64_t timerfd_idle(std::int64_t duration) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const auto start = static_cast<std::int64_t>(monotonic_nanos());
  std::vector<int> timers;
  for (unsigned job = 0; job < kJobs; ++job) {
    timers.push_back(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const std::int64_t first = start + phase(job);
    const itimerspec beat{{1, 0}, {first / kSecond, first % kSecond}};
    timerfd_settime(timers.back(), TFD_TIMER_ABSTIME, &beat, nullptr);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = timers.back();
    require(epoll_ctl(epoll, EPOLL_CTL_ADD, timers.back(), &event) == 0, "epoll: a timerfd was refused");
  }
  std::uint64_t ticks = 0;
  for (;;) {
    const std::int64_t left = start + duration - static_cast<std::int64_t>(monotonic_nanos());
    if (left <= 0) break;
    epoll_event event{};
    if (epoll_wait(epoll, &event, 1, static_cast<int>(left / 1'000'000 + 1)) != 1) continue;
    std::uint64_t expired = 0;
    require(read(event.data.fd, &expired, sizeof expired) == sizeof expired, "timerfd: nothing to read");
    ticks += expired;
  }
  for (const int timer : timers) close(timer);
  close(epoll);
  return ticks;
}

}  // namespace floe::bench
