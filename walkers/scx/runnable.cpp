#include "walkers/scx/runnable.hpp"

#include "walkers/scx/queues.hpp"
#include "walkers/scx/sched.hpp"

namespace floe::walkers::scx {
namespace {

// How long ago the watchdog last ran, if that is longer than it may be: scx_tick() throws the scheduler out for it. It is armed while a
// scheduler is enabled, and its stamp is stale at any other time.
std::optional<std::uint64_t> heartbeat_age(Walk& walk, const SchedState& sched) {
  if (!walk.layout.watchdog_timestamp || (sched.enable_state && *sched.enable_state != "enabled")) return std::nullopt;
  const auto stamp = walk.memory.get<std::uint64_t>(*walk.layout.watchdog_timestamp);
  const auto now = walk.jiffies();
  if (!stamp || !now || *stamp == 0) return std::nullopt;
  constexpr std::uint64_t kOldestPlausible = 86'400'000;
  const std::uint64_t age = *now > *stamp ? *now - *stamp : 0;
  return age <= kOldestPlausible && age > sched.watchdog_timeout.value_or(0) ? std::optional(age) : std::nullopt;
}

// The tasks of every run queue's runnable_list: those that sched_ext holds runnable even where scx_tasks is torn.
template <class Visit>
void each_runnable(Walk& walk, const Visit& visit) {
  const Layout& layout = walk.layout;
  if (!layout.rq || !layout.scx_rq || !layout.runqueues || !layout.entity || !layout.task) return;
  const std::uint64_t node = std::uint64_t{layout.task->scx.offset} + layout.entity->runnable_node.offset;
  for (const auto& cpu : walk.cpus()) {
    const Kva list = cpu.of(*layout.runqueues) + layout.rq->scx.offset + layout.scx_rq->runnable_list.offset;
    walk_list(walk.memory, list, walk.budget, [&](Kva link) {
      visit(link - node);
      return true;
    });
  }
}

}  // namespace

std::optional<OldestRunnable> oldest_runnable(Walk& walk) {
  const auto sched = sched_state(walk);
  if (!sched) return std::nullopt;
  std::optional<std::uint64_t> oldest;
  std::optional<Kva> task;
  const auto consider = [&](Kva one) {
    const auto age = walk.runnable_age(one);
    if (!age || (oldest && *age <= *oldest)) return;
    oldest = age;
    task = one;
  };
  each_runnable(walk, consider);
  for (const Kva one : known_tasks(walk)) consider(one);
  const auto heartbeat = heartbeat_age(walk, *sched);
  if (heartbeat && (!oldest || *heartbeat > *oldest)) return OldestRunnable{*heartbeat, std::nullopt, std::nullopt};
  if (!oldest) return std::nullopt;
  return OldestRunnable{*oldest, walk.queued(*task), dsq_of(walk, *task)};
}

}  // namespace floe::walkers::scx
