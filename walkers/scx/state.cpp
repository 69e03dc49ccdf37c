#include "walkers/scx/state.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace floe::walkers::scx {

State read_state(const Kernel& kernel, const Layout& layout, WalkBudget& budget) {
  State state;
  if (layout.exists()) {
    Walk walk(kernel, layout, budget);
    state.jiffies = walk.jiffies();
    state.sched = sched_state(walk);
    state.exit_info = exit_info(walk);
    state.schedulers = sched_tree(walk);
    state.rqs = rq_states(walk);
    state.dsqs = dsq_states(walk);
    state.oldest = oldest_runnable(walk);
    state.events = event_counters(walk);
    state.problems = std::move(walk.problems);
    state.problem_count = walk.problem_count;
  }
  state.unavailable = why_unavailable(layout, state);
  return state;
}

std::optional<std::string> why_unavailable(const Layout& layout, const State& state) {
  if (!layout.exists()) return "no scx walker capture";
  std::vector<std::string> reasons;
  if (!layout.missing.empty())
    reasons.push_back(fmt::format("scx walker partial: missing offset groups [{}]", fmt::join(layout.missing, ", ")));
  if (!state.sched)
    reasons.emplace_back("scx_root is NULL (no scheduler attached)");
  else if (state.rqs.empty() && state.dsqs.empty())
    reasons.emplace_back("scx walker reached no state");
  if (reasons.empty()) return std::nullopt;
  return fmt::format("{}", fmt::join(reasons, "; "));
}

}  // namespace floe::walkers::scx
