// What a scheduler developer asks about each task: priorities, class, waits, family, times, and where sched_ext has it.
//
// The table of tasks (tasks.hpp) says which there are; sched_ext may know a few more that have left the process list already, and they are
// listed behind it. Each task_struct is read in a handful of pieces.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/records.hpp"
#include "walkers/scx/layout.hpp"
#include "walkers/tasks.hpp"

namespace floe::walkers {

// The instruction pointer of the vCPU that is this CPU of the guest.
struct RunningAt {
  std::uint32_t cpu = 0;
  std::uint64_t ip = 0;
};

struct TaskDetailsTable {
  std::vector<TaskDetails> tasks;     // those of the table in its order, without the idle tasks; then those that only scx_tasks has
  std::vector<std::string> problems;  // the first of what kept it from being whole
  std::uint64_t problem_count = 0;
};

// Error: the kernel's BTF lacks what no details can be had without.
Result<TaskDetailsTable> task_details(const Kernel& kernel, const TaskTable& table, const scx::Layout& layout,
                                      std::span<const RunningAt> running, WalkBudget& budget);

}  // namespace floe::walkers
