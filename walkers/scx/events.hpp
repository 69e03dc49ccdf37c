// The counters of what a scheduler made the kernel do (struct scx_event_stats).
#pragma once

#include <optional>

#include "walkers/scx/records.hpp"
#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

// Of the scheduler at the root, summed over CPUs; elapsed_ms is left for who knows it. Nothing when no scheduler is attached, the kernel
// has no counters, or no CPU's could be read.
std::optional<EventCounters> event_counters(Walk& walk);

}  // namespace floe::walkers::scx
