// How late a sleeper wakes. Each of these sleeps until `due` (nanoseconds of CLOCK_MONOTONIC) and gives the nanoseconds past it.
#pragma once

#include <cstdint>

#include "bench/engine/bench.hpp"

namespace floe::bench {

double floe_lateness(engine::loop& on, std::int64_t due);

class TimerfdSleeper {
 public:
  TimerfdSleeper();
  ~TimerfdSleeper();
  double lateness(std::int64_t due);

 private:
  int timer_;
};

// A steady beat of engine::ticker, `ticks` long: by how many nanoseconds per tick its lateness grew from the first tenth to the last.
// (Of each tenth the 10th percentile: what no disturbance of the machine touches.)
double floe_drift(engine::loop& on, std::uint64_t ticks, engine::nanoseconds period);

}  // namespace floe::bench
