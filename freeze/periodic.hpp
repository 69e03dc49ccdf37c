// Captures spread over a workload: when they are due, by which clock, and when to stop trying.
//
// Times are nanoseconds on one clock of the caller's (since the run began); nothing here looks at a clock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace floe::freeze {

using Nanoseconds = std::chrono::nanoseconds;

inline constexpr std::size_t kMaxPeriodicCaptures = 64;
inline constexpr Nanoseconds kLeastPeriodicInterval = std::chrono::milliseconds(100);
inline constexpr unsigned kDegradedInARowEnd = 2;

// "periodic_000"
std::string periodic_tag(std::size_t index);

// Errors: more captures than are kept, or closer to each other than 100 ms.
Result<void> check_periodic(std::size_t count, Nanoseconds workload);

// Captures happen in [start, end). `start` is not before `anchor`, from which offsets are told.
struct PeriodicWindow {
  Nanoseconds anchor{}, start{}, end{};
};

// The window of a workload: from its anchor, or later when what captures need was ready later only, to the anchor plus its duration. The
// anchor is when the scenario began; failing that, its duration before the deadline of the attachment. Nothing while neither is known, or
// such a deadline is too early. One that got ready too late has a window in which there are no boundaries.
std::optional<PeriodicWindow> periodic_window(std::optional<Nanoseconds> scenario_start, std::optional<Nanoseconds> attach_deadline,
                                              Nanoseconds workload, Nanoseconds ready_at);

// `count` instants in [start, end], evenly apart, a tenth of it left free at either end; in whole nanoseconds, rounded down. None when
// there is no room for them.
std::vector<Nanoseconds> periodic_boundaries(Nanoseconds start, Nanoseconds end, std::size_t count);

// How far a workload is: without its pauses, and by the guest's own account where it gives one, so that captures spread over what it does
// even when the host is slow. A guest that has given none for 4 s is counted on by the host's clock, so that a wedged one is captured.
class WorkloadClock {
 public:
  static constexpr Nanoseconds kStale = std::chrono::seconds(4);

  explicit WorkloadClock(Nanoseconds anchor) : anchor_(anchor) {}

  // A second pause or resume in a row changes nothing.
  void pause(Nanoseconds now);
  void resume(Nanoseconds now);
  bool paused() const { return paused_at_.has_value(); }

  // What the guest says has passed of the workload; ignored during a pause, and when it is less than it said before.
  void heartbeat(Nanoseconds guest, Nanoseconds now);

  // Since the anchor; stands still during a pause.
  Nanoseconds elapsed(Nanoseconds now) const;
  Nanoseconds wall_elapsed(Nanoseconds now) const;  // the same without the guest's account

 private:
  Nanoseconds anchor_;
  Nanoseconds pauses_{};
  std::optional<Nanoseconds> paused_at_;
  struct Heartbeat {
    Nanoseconds guest{};
    Nanoseconds wall{};  // wall_elapsed() when the guest's account last went on
  };
  std::optional<Heartbeat> last_;
};

// The captures of one window, in turn.
class PeriodicCaptures {
 public:
  enum class Outcome : std::uint8_t { captured, degraded, suppressed };

  PeriodicCaptures(const PeriodicWindow& window, std::size_t count);

  // The capture that is due at WorkloadClock::elapsed(). The same one as long as done() has not been told of it: what keeps one from being
  // made only puts it off.
  std::optional<std::size_t> due(Nanoseconds elapsed) const;

  // It was tried. After two degraded ones in a row, whatever was suppressed between them, no further one is due.
  void done(Outcome outcome);

  // Its boundary, from the anchor on: `boundary_offset_ms` of what is stored.
  std::uint64_t offset_ms(std::size_t index) const;

  std::size_t count() const { return boundaries_.size(); }
  std::size_t fired() const { return next_; }  // tried, whatever came of it
  bool abandoned() const { return degraded_ >= kDegradedInARowEnd; }
  bool over() const { return abandoned() || next_ == boundaries_.size(); }

 private:
  std::vector<Nanoseconds> boundaries_;  // from the anchor on
  std::size_t next_ = 0;
  unsigned degraded_ = 0;  // in a row
};

}  // namespace floe::freeze
