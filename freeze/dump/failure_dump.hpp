// The dump that a run leaves of a scheduler that failed: made of the snapshots that tell most.
//
// After the kernel has thrown a scheduler out its queues are gone, and while it does so everybody runs in bypass mode. So the main dump is
// that of the last snapshot in which the scheduler was in charge: who was stuck, on which DSQ, for how long. The exit's reason comes from
// later, from the snapshot that showed it or from the kernel's log, and the later snapshot has a dump of its own beside it.
#pragma once

#include <chrono>
#include <optional>

#include "base/result.hpp"
#include "freeze/dump/model.hpp"
#include "freeze/event_timeline.hpp"
#include "freeze/scheduler_watch.hpp"
#include "freeze/snapshot_ring.hpp"
#include "walkers/bpf/casts.hpp"
#include "walkers/kernel.hpp"

namespace floe::freeze::dump {

inline constexpr const char* kMainName = "run.failure-dump.json";
inline constexpr const char* kLateName = "run.snapshot.late.json";

struct FailureDump {
  Report main;
  std::optional<Report> late;  // where that is another snapshot
};

struct FailureSource {
  const SnapshotView* before = nullptr;  // the last with the scheduler in charge; one of the two is there
  const SnapshotView* late = nullptr;    // the one that showed the failure
  const RamLayout* layout = nullptr;
  const walkers::Kernel* kernel = nullptr;                       // opened from the same guest: lends its tables; may be null
  const walkers::bpf::CastAnalysis* casts = nullptr;             // of the scheduler's executable; may be null
  const EventTimeline* events = nullptr;                         // what earlier snapshots counted; may be null
  std::chrono::nanoseconds deadline = std::chrono::seconds(10);  // for each
};

// On a worker thread. A snapshot without a readable kernel gives a placeholder.
FailureDump make_failure_dump(const SchedulerFailure& failure, const FailureSource& source);

// The report of one ring snapshot. Error: no kernel in it.
Result<Report> report_of(const SnapshotView& view, const FailureSource& source);

}  // namespace floe::freeze::dump
