#include "freeze/periodic.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace floe::freeze {
namespace {

// Of the window, at either end, without captures.
constexpr std::int64_t kMarginParts = 10;

__extension__ using Wide = __int128;

}  // namespace

std::string periodic_tag(std::size_t index) {
  return fmt::format("periodic_{:03}", index);
}

Result<void> check_periodic(std::size_t count, Nanoseconds workload) {
  if (count == 0) return {};
  if (count > kMaxPeriodicCaptures) return fail(fmt::format("{} periodic captures: at most {} are kept", count, kMaxPeriodicCaptures));
  const Nanoseconds inner = workload - 2 * (workload / kMarginParts);
  if (inner / static_cast<std::int64_t>(count + 1) < kLeastPeriodicInterval)
    return fail(fmt::format("{} periodic captures in {:.1f} s are less than {} ms apart: ask for fewer, or for a longer workload", count,
                            std::chrono::duration<double>(workload).count(),
                            std::chrono::duration_cast<std::chrono::milliseconds>(kLeastPeriodicInterval).count()));
  return {};
}

std::optional<PeriodicWindow> periodic_window(std::optional<Nanoseconds> scenario_start, std::optional<Nanoseconds> attach_deadline,
                                              Nanoseconds workload, Nanoseconds ready_at) {
  if (!scenario_start && (!attach_deadline || *attach_deadline < workload)) return std::nullopt;
  const Nanoseconds anchor = scenario_start ? *scenario_start : *attach_deadline - workload;
  return PeriodicWindow{anchor, std::max(anchor, ready_at), anchor + workload};
}

std::vector<Nanoseconds> periodic_boundaries(Nanoseconds start, Nanoseconds end, std::size_t count) {
  std::vector<Nanoseconds> boundaries;
  if (count == 0 || end <= start) return boundaries;
  const std::int64_t available = (end - start).count();
  const std::int64_t margin = available / kMarginParts;
  const std::int64_t inner = available - 2 * margin;
  if (static_cast<std::uint64_t>(inner) <= count) return boundaries;
  boundaries.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::int64_t>(Wide{inner} * static_cast<Wide>(i + 1) / static_cast<Wide>(count + 1));
    boundaries.push_back(start + Nanoseconds(margin + at));
  }
  return boundaries;
}

void WorkloadClock::pause(Nanoseconds now) {
  if (!paused_at_) paused_at_ = std::max(now, anchor_);
}

void WorkloadClock::resume(Nanoseconds now) {
  if (!paused_at_) return;
  pauses_ += std::max(now - *paused_at_, Nanoseconds{0});
  paused_at_.reset();
}

void WorkloadClock::heartbeat(Nanoseconds guest, Nanoseconds now) {
  if (paused_at_ || guest < Nanoseconds{0} || (last_ && guest <= last_->guest)) return;
  last_ = Heartbeat{guest, wall_elapsed(now)};
}

Nanoseconds WorkloadClock::wall_elapsed(Nanoseconds now) const {
  const Nanoseconds until = paused_at_ ? std::min(*paused_at_, now) : now;
  return std::max(until - anchor_ - pauses_, Nanoseconds{0});
}

Nanoseconds WorkloadClock::elapsed(Nanoseconds now) const {
  const Nanoseconds wall = wall_elapsed(now);
  if (!last_) return wall;
  const Nanoseconds since = wall - last_->wall;
  return since > kStale ? last_->guest + since : last_->guest;
}

PeriodicCaptures::PeriodicCaptures(const PeriodicWindow& window, std::size_t count)
    : boundaries_(periodic_boundaries(window.start, window.end, std::min(count, kMaxPeriodicCaptures))) {
  for (auto& boundary : boundaries_) boundary -= window.anchor;
}

std::optional<std::size_t> PeriodicCaptures::due(Nanoseconds elapsed) const {
  if (over() || elapsed < boundaries_[next_]) return std::nullopt;
  return next_;
}

void PeriodicCaptures::done(Outcome outcome) {
  if (over()) return;
  ++next_;
  if (outcome == Outcome::captured) degraded_ = 0;
  if (outcome == Outcome::degraded) ++degraded_;
}

std::uint64_t PeriodicCaptures::offset_ms(std::size_t index) const {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(boundaries_[index]).count());
}

}  // namespace floe::freeze
