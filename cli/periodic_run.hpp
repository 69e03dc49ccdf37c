// The periodic captures of a run (`--periodic N`): when each is due, and whether it can be made.
//
// The window begins at the guest's hello, or when its kernel can be read, and ends with --duration. While a scheduler is wanted and none
// is in charge, or another one has just taken over, what is due waits; so does it while an earlier one is under way. The clock is the
// host's, without the time that the guest stood still for captures.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "cli/live_watch.hpp"
#include "cli/run_report.hpp"
#include "cli/snapshot_series.hpp"
#include "engine/engine.hpp"
#include "freeze/periodic.hpp"

namespace floe::cli {

class PeriodicRun {
 public:
  struct Setting {
    std::size_t count = 0;
    std::chrono::nanoseconds workload{};
    bool needs_scheduler = false;
  };
  using Take = std::function<void(std::size_t index, PeriodicMoment when)>;
  // `take` makes the capture and then calls done().
  PeriodicRun(Setting setting, const SnapshotSeries& series, const LiveWatch& live, Take take);

  // From the hello on, until the last one was tried.
  engine::task<> run();
  void done(freeze::PeriodicCaptures::Outcome outcome);

  // Nothing where none were asked for.
  void report(RunReport& report) const;

 private:
  std::chrono::nanoseconds now() const;
  bool can_capture() const;
  void keep_time();

  Setting setting_;
  const SnapshotSeries& series_;
  const LiveWatch& live_;
  Take take_;
  freeze::Nanoseconds anchor_{};
  freeze::WorkloadClock clock_{{}};
  std::optional<freeze::PeriodicCaptures> captures_;  // once the kernel can be read
  std::chrono::nanoseconds frozen_{};                 // taken out of the clock
  std::uint64_t captured_ = 0, degraded_ = 0, suppressed_ = 0;
  bool under_way_ = false;
};

}  // namespace floe::cli
