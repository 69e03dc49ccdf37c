// Carries a scenario out, one step after the other, until one fails.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "engine/task.hpp"
#include "freeze/scenario/host.hpp"
#include "freeze/scenario/scenario.hpp"

namespace floe::freeze::scenario {

// What became of a step, in the order of the steps.
struct StepRecord {
  std::string what;                   // "capture a"
  std::chrono::nanoseconds began{0};  // since the scenario began
  std::chrono::nanoseconds took{0};
};

struct ScenarioOutcome {
  std::vector<StepRecord> steps;  // that began
  std::string reason;             // why the last of them failed, in one line: "FILE:LINE:COLUMN: steps[3] capture a: ..."
  bool passed() const { return reason.empty(); }
};

// A step that fails, or takes longer than its deadline, ends the scenario. Cold writes that follow each other are one freeze, with the
// deadline of the first. Cancelled when its task is; it has no errors of its own.
// `scenario` and `host` outlive the task.
engine::task<ScenarioOutcome> run_scenario(const Scenario& scenario, ScenarioHost& host);

// "capture a", "spawn w0, w1", "assert ...": one line for progress and messages.
std::string describe(const Action& action);

// How `left relation right` stands. Two integers compare as such (64 bits exactly, decimal or 0x...), two other numbers as those, else
// only ==, != and contains have a meaning. The error says what did not hold.
Result<> compare(const std::string& left, Assert::Relation relation, const std::string& right);

}  // namespace floe::freeze::scenario
