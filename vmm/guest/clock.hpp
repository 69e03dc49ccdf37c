// Init's clock: milliseconds since the boot.
#pragma once

#include <cstdint>
#include <ctime>

namespace floe::vmm::guest {

inline constexpr std::int64_t kNever = -1;

inline std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// The earlier one of two moments, either of which may be kNever.
inline std::int64_t earlier(std::int64_t one, std::int64_t other) {
  if (one == kNever || other == kNever) return one == kNever ? other : one;
  return one < other ? one : other;
}

}  // namespace floe::vmm::guest
