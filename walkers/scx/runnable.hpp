// Has anybody been kept waiting? What the kernel's own watchdog asks every half timeout, asked of an instant of memory.
#pragma once

#include <optional>

#include "walkers/scx/records.hpp"
#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

// The longest wait of all: of a task that is queued (scx_tasks, runnable lists), or since the watchdog itself last ran (it should, every
// half timeout; then there is no task to name). Nothing when no scheduler is attached or nobody waits.
std::optional<OldestRunnable> oldest_runnable(Walk& walk);

}  // namespace floe::walkers::scx
