#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {
namespace {

constexpr std::uint64_t kOldestPlausible = 86'400'000;  // jiffies: a day at HZ=1000

}  // namespace

Walk::Walk(const Kernel& of, const Layout& where, WalkBudget& to_spend)
    : kernel(of), layout(where), budget(to_spend), memory(of.memory()) {}

const std::vector<CpuArea>& Walk::cpus() {
  if (!std::exchange(cpus_known_, true)) {
    auto areas = per_cpu_areas(kernel);
    if (areas)
      cpus_ = std::move(*areas);
    else
      problem("the CPUs' run queues are unknown: " + areas.error().message);
  }
  return cpus_;
}

std::optional<std::uint64_t> Walk::jiffies() {
  if (!std::exchange(jiffies_known_, true)) {
    if (layout.jiffies) jiffies_ = memory.get<std::uint64_t>(*layout.jiffies);
    if (!jiffies_) problem("jiffies_64 is unreadable: how long tasks have waited is unknown");
  }
  return jiffies_;
}

std::optional<Kva> Walk::root() {
  if (!layout.scx_root) return std::nullopt;
  const auto sched = memory.get<std::uint64_t>(*layout.scx_root);
  if (!sched) {
    problem("scx_root is unreadable");
    return std::nullopt;
  }
  return *sched != 0 ? std::optional(Kva(*sched)) : std::nullopt;
}

void Walk::problem(std::string text) {
  ++problem_count;
  if (problems.size() < kMaxProblems) problems.push_back(std::move(text));
}

std::optional<QueuedTask> Walk::queued(Kva task) {
  if (!layout.task || !layout.entity) return std::nullopt;
  const Kva entity = task + layout.task->scx.offset;
  const auto pid = memory.get_number(task, layout.task->pid);
  auto comm = memory.get_string(task, layout.task->comm);
  const auto weight = memory.get_number(entity, layout.entity->weight);
  const auto vtime = memory.get_number(entity, layout.entity->dsq_vtime);
  const auto slice = memory.get_number(entity, layout.entity->slice);
  if (!pid || !comm || !weight || !vtime || !slice) return std::nullopt;
  return QueuedTask{
      .kva = task.value,
      .pid = static_cast<std::int32_t>(*pid),
      .comm = std::move(*comm),
      .runnable_age_jiffies = runnable_age(task),
      .weight = static_cast<std::uint32_t>(*weight),
      .dsq_vtime = *vtime,
      .slice = *slice,
  };
}

// set_task_runnable() and the watchdog's check_rq_for_timeouts() in kernel/sched/ext.c.
std::optional<std::uint64_t> Walk::runnable_age(Kva task) {
  if (!layout.task || !layout.entity) return std::nullopt;
  const Kva entity = task + layout.task->scx.offset;
  const auto flags = memory.get_number(entity, layout.entity->flags);
  const auto since = memory.get_number(entity, layout.entity->runnable_at);
  if (!flags || !since) return std::nullopt;
  return runnable_age(*flags, *since);
}

std::optional<std::uint64_t> Walk::runnable_age(std::uint64_t flags, std::uint64_t runnable_at) {
  if (runnable_at == 0 || (flags & layout.task_queued) == 0) return std::nullopt;
  if ((flags & (layout.task_reset_runnable_at | layout.task_cursor)) != 0) return std::nullopt;
  const auto now = jiffies();
  if (!now) return std::nullopt;
  const std::uint64_t age = *now > runnable_at ? *now - runnable_at : 0;
  return age <= kOldestPlausible ? std::optional(age) : std::nullopt;
}

}  // namespace floe::walkers::scx
