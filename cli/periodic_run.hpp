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

#include "cli/run_report.hpp"
#include "engine/engine.hpp"
#include "freeze/periodic.hpp"
#include "freeze/word_watch.hpp"

namespace floe::cli {

class PeriodicRun {
 public:
  struct Setting {
    std::size_t count = 0;
    std::chrono::nanoseconds workload{};
    bool needs_scheduler = false;
  };
  struct Guest {
    std::function<bool()> readable;  // its kernel is
    std::function<freeze::WordWatch::Scheduler()> scheduler;
    std::function<std::chrono::nanoseconds()> stood_still;                // for captures, in all
    std::function<void(std::size_t index, PeriodicMoment when)> capture;  // at once; done() is called then
  };
  PeriodicRun(Setting setting, Guest guest) : setting_(setting), guest_(std::move(guest)) {}

  // From the hello on, until the last one was tried.
  engine::task<> run();
  void done(freeze::PeriodicCaptures::Outcome outcome);

  // Nothing where none were asked for.
  void report(RunReport& report) const;

 private:
  void look();
  bool can_capture() const;
  void keep_time();

  Setting setting_;
  Guest guest_;
  freeze::WorkloadClock clock_{{}};
  std::optional<freeze::PeriodicCaptures> captures_;  // once the kernel can be read
  std::chrono::nanoseconds frozen_{};                 // taken out of the clock
  std::uint64_t captured_ = 0, degraded_ = 0, suppressed_ = 0;
  bool under_way_ = false;
};

}  // namespace floe::cli
