#include "walkers/scx/events.hpp"

#include <limits>

namespace floe::walkers::scx {
namespace {

// The per-cpu variable or allocation that holds the counters of each CPU.
std::optional<Kva> stats_of(Walk& walk) {
  const Layout& layout = walk.layout;
  if (!layout.scx_root) return layout.global_event_stats;
  const auto root = walk.root();
  if (!root || !layout.sched) return std::nullopt;
  if (layout.sched->pcpu && layout.pcpu_event_stats) {
    const auto area = walk.memory.get_pointer(*root, *layout.sched->pcpu);
    return area ? std::optional(*area + layout.pcpu_event_stats->offset) : std::nullopt;
  }
  return layout.sched->event_stats_cpu ? walk.memory.get_pointer(*root, *layout.sched->event_stats_cpu) : std::nullopt;
}

std::int64_t saturating_sum(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b > 0 ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

}  // namespace

std::optional<EventCounters> event_counters(Walk& walk) {
  const auto stats = stats_of(walk);
  if (!stats || walk.layout.events.empty()) return std::nullopt;
  EventCounters sum;
  bool any = false;
  for (const auto& cpu : walk.cpus())
    for (const auto& [field, counter] : walk.layout.events)
      if (const auto value = walk.memory.get_number(cpu.of(*stats), field)) {
        sum.*counter = saturating_sum(sum.*counter, static_cast<std::int64_t>(*value));
        any = true;
      }
  return any ? std::optional(sum) : std::nullopt;
}

}  // namespace floe::walkers::scx
