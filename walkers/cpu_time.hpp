// Where each CPU's time went, as /proc/stat has it: kernel_cpustat, kstat and tick_cpu_sched of each CPU.
//
// A tickless CPU's idle time is not in kernel_cpustat before 7.x: /proc/stat takes it from tick_sched.idle_sleeptime, and adds what has
// passed since idle_entrytime while the CPU idles. Both are here. A kernel that stops no ticks (tick_nohz_active is 0) does not look at
// tick_sched, though it goes on counting there (get_cpu_sleep_time_us() in kernel/time/tick-sched.c): then they are absent, and
// kernel_cpustat has it all.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "walkers/kernel.hpp"
#include "walkers/records.hpp"

namespace floe::walkers {

// One for each CPU whose counters are readable. Error: the kernel lacks kernel_cpustat or its type.
Result<std::vector<PerCpuTime>> cpu_times(const Kernel& kernel);

}  // namespace floe::walkers
