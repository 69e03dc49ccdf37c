// What a run was, for manifest.json: filled in as the run goes on, so that a run that ends early still tells what it knows.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit.hpp"
#include "freeze/bridge/records.hpp"
#include "freeze/coordinator.hpp"
#include "freeze/scenario/run.hpp"
#include "freeze/scheduler_watch.hpp"
#include "freeze/snapshot_ring.hpp"
#include "vmm/wire.hpp"
#include "walkers/tasks.hpp"
#include "walkers/uts.hpp"

namespace floe::cli {

// When in the workload a periodic capture was ordered, and when it was due.
struct PeriodicMoment {
  std::uint64_t elapsed_ms = 0;
  std::uint64_t boundary_offset_ms = 0;
};

// What became of a capture that was asked for by name: exactly one of these for each.
struct OnDemandCapture {
  std::string tag;
  freeze::Cause cause = freeze::Cause::kOperator;
  bool ok = false;
  std::string reason;  // where it is not ok
  std::string file;    // of the run's folder: the dump; of a degraded capture what there is
  std::uint64_t sequence = 0, pause_us = 0;
  bool degraded = false;                               // not every vCPU parked
  std::optional<PeriodicMoment> when;                  // of a periodic one
  std::shared_ptr<const freeze::dump::Report> report;  // ok
};

// A kernel variable that was watched.
struct WatchedVariable {
  std::string symbol;
  std::string method;  // how its change was noticed, or would have been: "polled", "hardware"
  std::uint32_t before = 0;
  std::optional<std::uint32_t> after;  // what was seen when it fired; absent: it did not
};

// The variable of --latch.
struct WatchedLatch {
  std::string map, variable;
  std::uint32_t at_least = 1;
  std::string state;    // "triggered": it was once; else as it was when it was there last
  std::string problem;  // of one that was never found: why
};

// What became of the captures of --periodic.
struct PeriodicTally {
  std::uint64_t asked = 0;
  std::uint64_t captured = 0, degraded = 0, suppressed = 0;  // of those tried
  std::string reason;                                        // why not all were tried
};

struct RunReport {
  Verdict verdict;
  std::string phase = "starting";  // where it ended: starting, booting, running, stopping, ended

  // What ran.
  std::string kernel_path, kernel_hash;  // XXH3-128 of the file
  std::string command_line;
  std::vector<std::string> command, scheduler;
  unsigned cpus = 0;
  std::uint64_t memory_mib = 0;
  std::string host_mode;  // "kvm", or "tcg": inside a QEMU machine
  unsigned host_retries = 0;

  // Times, milliseconds since the machine's start; absent when it did not happen.
  std::optional<std::uint64_t> hello_ms, ended_ms;

  // What the guest said of itself, and how COMMAND and the scheduler ended.
  std::optional<vmm::wire::Hello> hello;
  std::optional<vmm::wire::Outcome> command_outcome;
  std::optional<vmm::wire::Outcome> scheduler_outcome;
  std::string panic;                                          // the kernel's line
  std::optional<freeze::SchedulerFailure> scheduler_failure;  // as the snapshots show it
  std::string stuck;                                          // who waited longest, where and for how long: from the failure dump

  // Snapshots.
  std::string dirty_source;
  struct Snapshots {
    std::uint64_t taken = 0, skipped = 0, evicted = 0;
    std::uint64_t kept = 0;                                                    // in the ring at the end
    std::uint64_t written = 0;                                                 // of these, to OUT/snapshots
    std::uint64_t missed_ticks = 0, rendezvous_timeouts = 0, did_not_fit = 0;  // the parts of `skipped`
    std::uint64_t partial = 0;                                                 // of those taken: without pages that nobody reads
    std::string write_error;
  } snapshots;
  std::vector<std::uint64_t> pause_us, park_us, capture_us, thaw_us, precopy_us, residual_pages;  // one per snapshot taken
  freeze::SnapshotRing::Parts ring_parts;                                                         // at the end
  std::uint64_t ring_bytes_limit = 0, ring_peak_bytes = 0, ring_largest_delta = 0, ring_pinned_bytes = 0;
  std::optional<std::uint64_t> ring_would_fit;  // --ring-bytes that would hold the first snapshot, where the limit did not
  std::uint64_t arena_bytes = 0, populated_bytes = 0;

  // What was read from the newest snapshot, by the host alone.
  std::optional<walkers::Uts> uts;
  std::optional<walkers::TaskTable> tasks;
  std::string walk_error;
  std::uint64_t walks = 0, walks_skipped = 0;
  std::uint64_t missed_reads = 0;  // of RAM that a snapshot did not have

  // The wire.
  vmm::wire::Decoder::Stats wire;
  std::uint64_t wire_unknown_frames = 0;
  std::string wire_notify;  // "event" or "exit"; empty: there was no machine
  std::uint64_t console_bytes = 0, console_bytes_lost = 0;

  // What was asked for by name, and what became of a scenario.
  std::vector<OnDemandCapture> captures;  // the first of them
  std::uint64_t captures_answered = 0;    // all
  std::vector<freeze::BridgeEvent> bridge_events;
  std::optional<PeriodicTally> periodic;
  std::optional<freeze::scenario::ScenarioOutcome> scenario;
  std::string scenario_file;
  std::vector<WatchedVariable> watched;  // in the order in which they fired, then those that did not
  std::optional<WatchedLatch> latch;
  std::string exit_kind_method;  // how the end of a scheduler is noticed in the running guest: "polled", "hardware"; empty: it was not

  std::map<std::string, std::uint64_t> vcpu_counters;
  std::vector<std::string> notes;  // anything odd that the reader should know
};

// manifest.json: schema "floe-manifest/1", keys as in docs/format.md.
std::string to_json(const RunReport& report, bool pretty = true);

// Nearest-rank percentile of `values`, 0 for none.
std::uint64_t percentile(std::vector<std::uint64_t> values, double p);

}  // namespace floe::cli
