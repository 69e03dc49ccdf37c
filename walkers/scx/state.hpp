// All of sched_ext at one instant, as the dump has it.
//
//   const auto layout = scx::Layout::of(kernel);               // once per kernel
//   WalkBudget budget(scx::kMostSteps, deadline);
//   const auto state = scx::read_state(kernel, layout, budget);
//   for (const auto& dsq : state.dsqs) ...
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "walkers/scx/events.hpp"
#include "walkers/scx/layout.hpp"
#include "walkers/scx/queues.hpp"
#include "walkers/scx/records.hpp"
#include "walkers/scx/runnable.hpp"
#include "walkers/scx/sched.hpp"
#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

inline constexpr std::uint64_t kMostSteps = 1'000'000;

struct State {
  std::optional<SchedState> sched;
  std::vector<RqState> rqs;
  std::vector<DsqState> dsqs;
  std::optional<OldestRunnable> oldest;
  std::optional<ExitInfo> exit_info;
  std::vector<SchedNode> schedulers;
  std::optional<EventCounters> events;
  std::optional<std::uint64_t> jiffies;

  // The dump's scx_walker_unavailable: why something of this is not there. Several reasons stand side by side, joined by "; ".
  std::optional<std::string> unavailable;
  std::vector<std::string> problems;  // what could not be followed, the first of it
  std::uint64_t problem_count = 0;
};

State read_state(const Kernel& kernel, const Layout& layout, WalkBudget& budget);

// `unavailable` of a state, by what is in it.
std::optional<std::string> why_unavailable(const Layout& layout, const State& state);

}  // namespace floe::walkers::scx
