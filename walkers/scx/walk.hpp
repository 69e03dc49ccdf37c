// What every walker of sched_ext has at hand, and the pieces that they share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/list.hpp"
#include "walkers/per_cpu.hpp"
#include "walkers/scx/layout.hpp"
#include "walkers/scx/records.hpp"

namespace floe::walkers::scx {

// A kernel at one instant. Not for two threads at once: the kernel's memory caches translations, and the budget is spent.
class Walk {
 public:
  static constexpr std::size_t kMaxProblems = 32;

  // All three outlive the walk.
  Walk(const Kernel& kernel, const Layout& layout, WalkBudget& budget);

  const Kernel& kernel;
  const Layout& layout;
  WalkBudget& budget;
  const KernelMemory& memory;

  const std::vector<CpuArea>& cpus();  // empty, with a problem, when they are unknown
  std::optional<std::uint64_t> jiffies();

  // The scheduler at the root: its scx_sched; absent when none is attached, or the kernel has no such struct.
  std::optional<Kva> root();

  // What could not be followed, at most kMaxProblems of it, and how often that was.
  void problem(std::string text);
  std::vector<std::string> problems;
  std::uint64_t problem_count = 0;

  // A task as the queues list it. Nothing when its task_struct is unreadable, or the layout lacks the groups.
  std::optional<QueuedTask> queued(Kva task);

  // How long a task has waited, by sched_ext_entity.runnable_at. Nothing for one that does not wait for a CPU, whose stamp is stale
  // (SCX_TASK_RESET_RUNNABLE_AT), or would have waited since before boot.
  std::optional<std::uint64_t> runnable_age(Kva task);
  std::optional<std::uint64_t> runnable_age(std::uint64_t flags, std::uint64_t runnable_at);

 private:
  bool cpus_known_ = false;
  std::vector<CpuArea> cpus_;
  bool jiffies_known_ = false;
  std::optional<std::uint64_t> jiffies_;
};

}  // namespace floe::walkers::scx
