// Pressure stall information of cgroups: how long tasks in each have waited for a CPU, for memory, for I/O, and for interrupts to be done.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/records.hpp"

namespace floe::walkers {

struct CgroupPsiTable {
  std::vector<CgroupPsi> cgroups;
  std::vector<std::string> problems;
};

// The leaves of the default hierarchy below `root` (a path as under /sys/fs/cgroup; "/" for all), depth first. The kernel brings its
// averages up to date every two seconds, so avg10 is that old at most. Error: the kernel has no PSI, or `root` does not exist.
Result<CgroupPsiTable> cgroup_psi(const Kernel& kernel, std::string_view root, WalkBudget& budget);

}  // namespace floe::walkers
