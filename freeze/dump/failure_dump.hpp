// The dumps that a run leaves of a scheduler that failed: made of the snapshots that FailureCapture picked.
//
// The main dump is `dual`: the snapshot half-way to the watchdog's limit beside the one of the end, as early as it could be had. After the
// kernel has thrown a scheduler out its queues are gone, and while it does so everybody runs in bypass mode; so the last snapshot in which
// the scheduler was in charge (who was stuck, on which DSQ, for how long) has a dump of its own, tagged `before`, where it is neither of
// the two. An early snapshot whose failure never came, or of a scheduler that left in good order, is a tagged sibling too.
//
// Where a vCPU did not park at the end, the main dump is `degraded`, and what snapshots of before and after show are its siblings.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "freeze/dump/model.hpp"
#include "freeze/event_timeline.hpp"
#include "freeze/failure_capture.hpp"
#include "walkers/bpf/casts.hpp"
#include "walkers/kernel.hpp"

namespace floe::freeze::dump {

inline constexpr const char* kMainName = "run.failure-dump.json";

// "run.failure-dump.json" and "a/b c": "run.snapshot.a_b_c.json". Whatever is no letter, digit, dot, dash or underscore of ASCII is one.
std::string sibling_name(std::string_view tag, std::string_view main_name = kMainName);

// What every report of a run's snapshots is made with.
struct DumpSource {
  const RamLayout* layout = nullptr;
  const walkers::Kernel* kernel = nullptr;                       // opened from the same guest: lends its tables; may be null
  const walkers::bpf::CastAnalysis* casts = nullptr;             // of the scheduler's executable; may be null
  const EventTimeline* events = nullptr;                         // what earlier snapshots counted; may be null
  std::chrono::nanoseconds deadline = std::chrono::seconds(10);  // for each
};

struct DumpFile {
  std::string name;
  AnyReport report;
};

struct FailureDump {
  std::vector<DumpFile> files;  // the main one first, where there is one
  std::string stuck;            // who waited longest, where and for how long; empty: nobody
};

// On a worker thread. `failure`: what the watch has found, if it has. Nothing, where there is neither a failure nor an early snapshot. A
// snapshot without a readable kernel gives a placeholder.
FailureDump make_failure_dump(const FailureCapture& captured, const SchedulerWatch& watch, const DumpSource& source);

// The report of one ring snapshot. Error: no kernel in it.
Result<Report> report_of(const SnapshotView& view, const DumpSource& source);

// What there is to say of a freeze for which not every vCPU parked, and the registers of those that did.
DegradedReport degraded_report(const Captured& capture);
std::vector<std::optional<VcpuRegs>> registers_at_gate(const Take& take);  // absent: it did not park

}  // namespace floe::freeze::dump
