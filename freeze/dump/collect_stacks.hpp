// The kernel's last words and the stacks of those who matter, for a report.
#pragma once

#include <optional>
#include <span>

#include "base/result.hpp"
#include "freeze/dump/model.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/tasks.hpp"
#include "walkers/unwind.hpp"

namespace floe::freeze::dump {

using Deadline = std::optional<walkers::WalkBudget::Clock::time_point>;

// The newest `most` records (0: all). Error: there is no log to be read.
Result<KernelLog> collect_log(const walkers::Kernel& kernel, Deadline deadline, std::uint64_t most);

// Adds to the report the stacks of the task that waits longest, of all that have waited for half the watchdog's timeout, and of those that
// run; and the names of the places where vCPUs stand. What sched_ext knows is in the report already.
void collect_stacks(const walkers::Kernel& kernel, const walkers::TaskTable& tasks, std::span<const walkers::CpuRegisters> cpus,
                    Deadline deadline, Report& report);

}  // namespace floe::freeze::dump
