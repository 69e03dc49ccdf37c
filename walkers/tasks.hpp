// The process table, as `ps -eL` in the guest would show it.
//
// Processes come from the list at init_task.tasks, the other threads of each from signal_struct.thread_head (from the older
// task_struct.thread_group where BTF still has that and not the other). The idle tasks (pid 0, "swapper/N") are on neither
// list; they are taken from rq.idle of each CPU and kept apart.
//
// The lists are the guest's. A walk visits a task once, stops a chain at the first link that leads nowhere, tries the process
// list from its other end then, and says in `problems` what it could not follow. It never hangs and never fails half-way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct Task {
  Kva address;            // of its task_struct
  std::int32_t pid = 0;   // of the thread, in the initial namespace
  std::int32_t tgid = 0;  // of the process: what user space calls its pid
  std::optional<std::int32_t> ppid;
  std::string comm;                  // as /proc/PID/comm shows it: kernel threads by their full name, workers with what they work on
  char state = '?';                  // as /proc/PID/stat shows it: R S D T t X Z P I; '?' when unreadable
  bool kernel_thread = false;        // PF_KTHREAD
  std::optional<bool> on_cpu;        // running at this instant; absent in kernels without SMP
  std::optional<std::uint32_t> cpu;  // where it runs or ran last; absent in kernels without SMP

  bool leads() const { return pid == tgid; }
};

struct TaskTable {
  std::vector<Task> tasks;            // processes in the order of the kernel's list, each followed by its other threads
  std::vector<Task> idle;             // one per CPU that was brought up
  bool complete = true;               // every list was followed to its end and every task on it read
  std::vector<std::string> problems;  // why not, the first kMaxProblems of them
  std::uint64_t problem_count = 0;
  std::uint64_t torn_links = 0;  // list nodes whose back link did not fit: an update was under way, or memory is damaged
  std::uint64_t steps = 0;       // list nodes followed

  static constexpr std::size_t kMaxProblems = 32;
};

inline constexpr std::uint64_t kMostTaskSteps = 262'144;

// Error: the kernel's BTF or symbols lack what no table can be made without. Everything else is in the table.
Result<TaskTable> tasks(const Kernel& kernel, WalkBudget budget = WalkBudget(kMostTaskSteps));

// The letter for task_struct.__state and .exit_state, as include/linux/sched.h:__task_state_index() has it.
char task_state_letter(std::uint32_t state, std::uint32_t exit_state);

}  // namespace floe::walkers
