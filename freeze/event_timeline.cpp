#include "freeze/event_timeline.hpp"

#include "walkers/scx/events.hpp"

namespace floe::freeze {
namespace {

using walkers::scx::EventCounters;

// One scheduler's counters only grow.
bool fell(const EventCounters& before, const EventCounters& now, const walkers::scx::Layout& layout) {
  for (const auto& [field, counter] : layout.events)
    if (now.*counter < before.*counter) return true;
  return false;
}

}  // namespace

void EventTimeline::look(const walkers::Kernel& kernel, const SnapshotMeta& meta, walkers::WalkBudget budget) {
  if (!layout_ || !kernel.times().tables_reused) layout_ = walkers::scx::Layout::of(kernel);
  if (!layout_->exists()) return;
  walkers::scx::Walk walk(kernel, *layout_, budget);
  auto counters = walkers::scx::event_counters(walk);
  if (!counters) return;
  const auto scheduler = walk.root();
  const bool less = !samples_.empty() && fell(samples_.back().counters, *counters, *layout_);
  if (less && !meta.whole) return;  // those of some CPU were not captured
  if (less || scheduler != scheduler_) samples_.clear();
  scheduler_ = scheduler;
  counters->elapsed_ms = elapsed_ms(meta.guest_clock_ns);
  samples_.push_back({meta.sequence, *counters});
  if (samples_.size() > most_) samples_.pop_front();
}

std::vector<EventCounters> EventTimeline::before(std::uint64_t sequence) const {
  std::vector<EventCounters> before;
  for (const Sample& sample : samples_)
    if (sample.sequence < sequence) before.push_back(sample.counters);
  return before;
}

std::uint64_t elapsed_ms(std::uint64_t guest_clock_ns) {
  return guest_clock_ns / 1'000'000;
}

}  // namespace floe::freeze
