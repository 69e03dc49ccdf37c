// The event counters of a guest's scheduler over the run: one sample from each snapshot's walk, the newest of them, for the timeline of a
// dump.
//
//   timeline.look(kernel, view.meta(), budget);                  // where a snapshot is walked, in order
//   options.events = timeline.before(view.meta().sequence);      // where a dump of one is collected
//
// The samples are of one scheduler: counters begin again with the next, and its dump shows its own. What its last ones were stays to be
// shown while none is attached.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "freeze/snapshot.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/scx/layout.hpp"
#include "walkers/scx/records.hpp"

namespace floe::freeze {

class EventTimeline {
 public:
  explicit EventTimeline(std::size_t most = 60) : most_(most) {}

  // Adds the counters of this snapshot, where a scheduler is attached and the kernel has them. Reads some tens of words for each CPU; the
  // layout of the kernel is worked out at the first one only.
  void look(const walkers::Kernel& kernel, const SnapshotMeta& meta, walkers::WalkBudget budget);

  // Samples of snapshots with a lower number, oldest first; elapsed_ms is the guest's clock.
  std::vector<walkers::scx::EventCounters> before(std::uint64_t sequence) const;

 private:
  struct Sample {
    std::uint64_t sequence = 0;
    walkers::scx::EventCounters counters;
  };

  std::size_t most_;
  std::optional<walkers::scx::Layout> layout_;
  std::optional<Kva> scheduler_;  // whose the samples are; kernels without scx_sched do not tell
  std::deque<Sample> samples_;
};

// When a snapshot was taken, as the samples count time.
std::uint64_t elapsed_ms(std::uint64_t guest_clock_ns);

}  // namespace floe::freeze
