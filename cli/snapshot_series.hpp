// The 1 Hz history of one run: takes a snapshot at each tick, keeps the newest in the ring, reads each with the walkers, and writes a
// line of metrics for it.
//
// Two things go on side by side: ticks, which must be on time, and reading, which may take longer than a period on a slow host. A
// snapshot that arrives while the reader is still at an earlier one is not read, and counted.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cli/run_folder.hpp"
#include "cli/run_options.hpp"
#include "cli/run_report.hpp"
#include "engine/engine.hpp"
#include "freeze/recording_memory.hpp"
#include "freeze/scheduler_watch.hpp"
#include "freeze/snapshot_memory.hpp"
#include "freeze/snapshotter.hpp"
#include "vmm/pc.hpp"
#include "walkers/kernel.hpp"

namespace floe::cli {

class SnapshotSeries {
 public:
  static Result<std::unique_ptr<SnapshotSeries>> create(vmm::Vm& vm, vmm::Pc& pc, const RunOptions& options, bool nested,
                                                        RunFolder& folder);
  ~SnapshotSeries();

  // Ticks from now on, until stopped. Call once, at the guest's hello. Error: the host cannot, or ring_too_small().
  engine::task<> tick();
  // Reads what tick() took, until close_reading().
  engine::task<> read();
  void close_reading() { to_read_.close(); }

  // One snapshot outside the beat: the last state of a guest that crashed.
  engine::task<> take_last();
  // One snapshot as soon as possible, beside the beat: something is happening to the guest now.
  engine::task<> hurry();
  std::string summary() const;  // "12 snapshots in 61.2 MiB"
  bool has_snapshots() const { return ring_->size() != 0; }
  // Not even one snapshot fitted: which --ring-bytes would. Empty otherwise.
  const std::string& ring_too_small() const { return ring_too_small_; }
  // Makes sure that the newest snapshot has been read. After tick() and read() ended.
  engine::task<> read_newest();
  // Writes every snapshot of the ring to OUT/snapshots.
  engine::task<> keep();

  void report(RunReport& report) const;

  // What the snapshots say of the scheduler. Its failure is told to on_failure() as well, once, as soon as a snapshot shows it.
  const freeze::SchedulerWatch& scheduler() const { return watch_; }
  void on_failure(std::function<void()> tell) { tell_failure_ = std::move(tell); }

  // The snapshots that tell most of a scheduler that failed: the last one with it in charge, and the one that showed the failure, where
  // that is a later one. They stay readable whatever the ring evicts.
  struct Telling {
    std::shared_ptr<const freeze::SnapshotView> before, late;
  };
  const Telling& telling() const { return telling_; }
  const freeze::RamLayout& layout() const { return layout_; }

  // The failure dump of those snapshots, into the run's folder. Nothing to do where no scheduler has failed. `scheduler_file`: its
  // executable, may be empty.
  engine::task<> dump_failure(std::span<const std::byte> scheduler_file);
  // Who was stuck, where and for how long; empty where nobody was, or no dump was made.
  const std::string& stuck() const { return stuck_; }

 private:
  SnapshotSeries(vmm::Vm& vm, RunFolder& folder, double hz);
  engine::task<> take(std::uint64_t tick_number);
  engine::task<> refuse_ring();
  struct Reading {
    std::shared_ptr<freeze::SnapshotView> view;
    freeze::Take take;
    std::uint64_t ring_bytes = 0;
  };
  Result<> walk(const freeze::SnapshotView& view);
  void after_walk(const std::shared_ptr<freeze::SnapshotView>& view);
  void write_metrics(const Reading& reading, std::optional<std::size_t> tasks, std::uint64_t walk_us);

  vmm::Vm& vm_;
  RunFolder& folder_;
  double hz_;
  engine::worker_pool capture_pool_{1};
  engine::worker_pool walk_pool_{1};
  std::shared_ptr<freeze::PageStore> store_;
  std::unique_ptr<freeze::SnapshotRing> ring_;
  std::unique_ptr<freeze::Snapshotter> snapshotter_;
  freeze::RamLayout layout_;
  std::uint64_t byte_limit_ = 0;
  std::chrono::nanoseconds walk_limit_{};  // of one snapshot, or of the dump of one; 0: none

  engine::mailbox<std::shared_ptr<Reading>> to_read_;
  std::optional<walkers::Kernel> kernel_;  // of the last walk: lends its tables to the next
  std::uint64_t read_sequence_ = 0;        // of the last snapshot walked
  std::vector<std::uint64_t> touched_;     // the pages it read, on their way to the snapshotter
  freeze::SchedulerWatch watch_;           // used where a snapshot is walked; read between walks
  std::function<void()> tell_failure_;
  bool failure_told_ = false;
  Telling telling_;
  std::string stuck_;
  bool taking_ = false;
  bool refusal_told_ = false;
  std::string ring_too_small_;

  RunReport report_;  // the snapshot and walk parts only
};

}  // namespace floe::cli
