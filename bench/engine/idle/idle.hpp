// A hundred periodic jobs, one tick a second each, spread over the second: what waiting costs.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/engine/bench.hpp"

namespace floe::bench {

inline constexpr unsigned kJobs = 100;
inline constexpr std::int64_t kSecond = 1'000'000'000;
// The n-th job ticks this many nanoseconds after the beginning of each second.
inline std::int64_t phase(unsigned job) {
  return job * 7919 % kJobs * (kSecond / kJobs);
}

// Each runs for `duration` nanoseconds and gives how many ticks there were.
std::uint64_t floe_idle(engine::loop& on, std::int64_t duration);
std::uint64_t timerfd_idle(std::int64_t duration);

}  // namespace floe::bench
