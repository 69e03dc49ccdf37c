#include <sys/timerfd.h>
#include <unistd.h>

#include "bench/engine/lateness/lateness.hpp"

namespace floe::bench {

TimerfdSleeper::TimerfdSleeper() : timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {
  require(timer_ >= 0, "no timerfd");
}

TimerfdSleeper::~TimerfdSleeper() {
  close(timer_);
}

double TimerfdSleeper::lateness(std::int64_t due) {
  itimerspec when{};
  when.it_value = {due / 1'000'000'000, due % 1'000'000'000};
  std::uint64_t fired = 0;
  require(timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr) == 0, "timerfd: not set");
  require(read(timer_, &fired, sizeof fired) == sizeof fired && fired == 1, "timerfd: not fired once");
  return monotonic_nanos() - static_cast<double>(due);
}

}  // namespace floe::bench
