#include "cli/periodic_run.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;
using Outcome = freeze::PeriodicCaptures::Outcome;

// Captures are 100 ms apart or more.
constexpr auto kBeat = 20ms;

std::chrono::nanoseconds now() {
  return engine::loop::running_here()->now().time_since_epoch();
}

}  // namespace

engine::task<> PeriodicRun::run() {
  clock_ = freeze::WorkloadClock(now());
  frozen_ = guest_.stood_still();
  engine::ticker beat(kBeat);
  for (look(); !captures_ || !captures_->over(); look()) {
    const auto tick = co_await beat.next();
    if (!tick) co_return tick.failure();
  }
  co_return engine::ok;
}

void PeriodicRun::look() {
  keep_time();
  const auto elapsed = clock_.elapsed(now());
  if (!captures_ && guest_.readable()) {
    // By the workload's clock, whose zero is the anchor.
    const auto window = freeze::periodic_window(0ns, std::nullopt, setting_.workload, elapsed);
    captures_.emplace(*window, setting_.count);
  }
  if (!captures_ || under_way_) return;
  const auto due = captures_->due(elapsed);
  if (!due || !can_capture()) return;
  under_way_ = true;
  const auto elapsed_ms = std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
  guest_.capture(*due, {static_cast<std::uint64_t>(elapsed_ms), captures_->offset_ms(*due)});
}

// What the guest stood still since the last look is no time of the workload's.
void PeriodicRun::keep_time() {
  const auto frozen = guest_.stood_still();
  const auto at = now();
  clock_.pause(at - (frozen - frozen_));
  clock_.resume(at);
  frozen_ = frozen;
}

bool PeriodicRun::can_capture() const {
  switch (guest_.scheduler()) {
    case freeze::WordWatch::Scheduler::bound:
      return true;
    case freeze::WordWatch::Scheduler::none:
      return !setting_.needs_scheduler;
    case freeze::WordWatch::Scheduler::changing:
      return false;
  }
  return false;
}

void PeriodicRun::done(Outcome outcome) {
  under_way_ = false;
  captures_->done(outcome);
  if (outcome == Outcome::captured) ++captured_;
  if (outcome == Outcome::degraded) ++degraded_;
  if (outcome == Outcome::suppressed) ++suppressed_;
}

void PeriodicRun::report(RunReport& report) const {
  if (setting_.count == 0) return;
  auto& told = report.periodic.emplace();
  told.asked = setting_.count;
  told.captured = captured_;
  told.degraded = degraded_;
  told.suppressed = suppressed_;
  if (!captures_)
    told.reason = "the guest's kernel could not be read";
  else if (captures_->count() == 0)
    told.reason = "the guest's kernel could be read only when the workload was nearly over";
  else if (captures_->abandoned())
    told.reason = "two captures in a row found not every vCPU parked: the others were left out";
  else if (!captures_->over())
    told.reason = can_capture() ? "the run ended before the others were due" : "no scheduler was in charge when the next one was due";
}

}  // namespace floe::cli
