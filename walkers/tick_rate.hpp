// How long a jiffy is. CONFIG_HZ stands in no symbol and no type, but the kernel's clock that counts jiffies knows it.
#pragma once

#include <cstdint>
#include <optional>

#include "walkers/kernel.hpp"

namespace floe::walkers {

// Jiffies in a second, by clocksource_jiffies (kernel/time/jiffies.c): its mult, shifted, is TICK_NSEC. Nothing when it makes no sense.
std::optional<std::uint32_t> tick_rate(const Kernel& kernel);

}  // namespace floe::walkers
