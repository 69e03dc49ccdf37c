// The history of one run, and what is read from it: a snapshot at each tick and whenever somebody orders one, the newest in the ring, each
// walked once, with a line of metrics.
//
// Two things go on side by side: captures, which must be on time, and reading, which may take longer than a period on a slow host. A
// snapshot that arrives while the reader is still at an earlier one is not read, and counted; one that somebody asked for is.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cli/run_folder.hpp"
#include "cli/run_options.hpp"
#include "cli/run_report.hpp"
#include "engine/engine.hpp"
#include "freeze/coordinator.hpp"
#include "freeze/dump/failure_dump.hpp"
#include "freeze/failure_capture.hpp"
#include "freeze/recording_memory.hpp"
#include "freeze/scheduler_watch.hpp"
#include "freeze/snapshot_memory.hpp"
#include "freeze/snapshotter.hpp"
#include "vmm/pc.hpp"
#include "vmm/vcpu_perf.hpp"
#include "walkers/kernel.hpp"

namespace floe::cli {

// The failure dump of one snapshot, and the same as its file.
struct Rendered {
  std::shared_ptr<const freeze::dump::Report> report;
  std::string file;
};

class SnapshotSeries {
 public:
  // `scheduler_file`: the scheduler's executable, for the dumps; may be empty. It outlives the series, as all else does.
  static Result<std::unique_ptr<SnapshotSeries>> create(vmm::Vm& vm, vmm::Pc& pc, const RunOptions& options, bool nested,
                                                        std::span<const std::byte> scheduler_file, RunFolder& folder);
  ~SnapshotSeries();

  // Counts what the vCPUs do, for each snapshot, where the host can. After their start.
  void count_vcpus() { perf_.open(vm_); }

  // Owns the freeze, until close(). Everything below that captures needs it to run.
  engine::task<> coordinate() { return coordinator_->run(); }
  void close() { coordinator_->close(); }
  freeze::Coordinator& coordinator() { return *coordinator_; }

  // Ticks from now on, until stopped. Call once, at the guest's hello. Error: the host cannot, or ring_too_small().
  engine::task<> tick();
  // Reads what was taken, until close_reading().
  engine::task<> read();
  void close_reading() { to_read_.close(); }

  // One snapshot as soon as possible, beside the beat: something is happening to the guest now. `latched`: it is the end, whatever the
  // kernel says.
  engine::task<> hurry(freeze::Cause cause, bool latched = false);
  // The failure dump of a snapshot, on a worker thread: made once for all who ask for that snapshot at the same time. Error: no kernel in
  // it.
  engine::task<std::shared_ptr<const Rendered>> render(std::shared_ptr<const freeze::SnapshotView> view);
  // Calls `use` on the worker that walks, with the tables of the guest's kernel: those of the last walk, or else, read from `live`, its
  // own. Error: there is no kernel to be read yet.
  engine::task<> with_tables(const freeze::LiveMemory& live, std::function<void(const walkers::Kernel&)> use);
  // A whole file of the run's folder, written by a worker.
  engine::task<> write(std::string name, std::shared_ptr<const std::string> text);

  // How long the guest has stood still for captures, in all.
  std::chrono::nanoseconds frozen_time() const { return frozen_; }

  // Of a walk that begins now: --dump-deadline.
  std::optional<vmm::Clock::time_point> walk_deadline() const;

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

  // What the kernel says of it has been read.
  bool failure_explained() const { return explained_; }
  // The scheduler failed, and the snapshot of that could not be taken.
  const std::shared_ptr<const freeze::Captured>& late_degraded() const { return failure_.late_degraded(); }
  const freeze::RamLayout& layout() const { return layout_; }

  // The dumps of a scheduler that failed, or nearly did, into the run's folder; nothing where there was nothing of the kind.
  engine::task<> dump_failure();
  // Who was stuck, where and for how long; empty where nobody was, or no dump was made.
  const std::string& stuck() const { return stuck_; }

 private:
  SnapshotSeries(vmm::Vm& vm, RunFolder& folder, std::span<const std::byte> scheduler_file, double hz);
  bool nothing_fits(const freeze::Captured& capture) const;
  engine::task<> refuse_ring();
  struct Reading {
    std::shared_ptr<const freeze::Captured> capture;
    std::shared_ptr<const freeze::SnapshotView> view;  // to walk; none: only its line of metrics is written
    std::uint64_t ring_bytes = 0;
  };
  void captured(const std::shared_ptr<const freeze::Captured>& capture);
  freeze::dump::DumpSource dump_source();
  Result<> write_failure();
  Result<> walk(const freeze::SnapshotView& view);
  void after_walk(const std::shared_ptr<const freeze::SnapshotView>& view);
  void write_metrics(const Reading& reading, std::optional<std::size_t> tasks, std::uint64_t walk_us);

  vmm::Vm& vm_;
  RunFolder& folder_;
  std::span<const std::byte> scheduler_file_;
  double hz_;
  engine::worker_pool capture_pool_{1};
  engine::worker_pool walk_pool_{1};
  std::shared_ptr<freeze::PageStore> store_;
  std::unique_ptr<freeze::SnapshotRing> ring_;
  vmm::VcpuPerf perf_;
  std::unique_ptr<freeze::Snapshotter> snapshotter_;
  std::unique_ptr<freeze::Coordinator> coordinator_;
  freeze::RamLayout layout_;
  std::uint64_t byte_limit_ = 0;
  std::chrono::nanoseconds frozen_{};
  std::chrono::nanoseconds walk_limit_{};  // of one snapshot, or of the dump of one; 0: none

  engine::mailbox<std::shared_ptr<Reading>> to_read_;
  vmm::Clock::time_point walk_again_{};    // ticks before it are not walked
  std::optional<walkers::Kernel> kernel_;  // of the last walk: lends its tables to the next
  std::uint64_t read_sequence_ = 0;        // of the last snapshot walked
  std::vector<std::uint64_t> touched_;     // the pages it read, on their way to the snapshotter
  freeze::EventTimeline events_;           // likewise
  freeze::SchedulerWatch watch_;           // used where a snapshot is walked; read between walks
  std::function<void()> tell_failure_;
  bool failure_told_ = false;
  bool explained_ = false;
  freeze::FailureCapture failure_;
  std::optional<walkers::bpf::CastAnalysis> casts_;  // of the scheduler's file, once somebody wanted a dump; used on the walk worker
  std::weak_ptr<const Rendered> rendered_;           // the last one that somebody asked for, while it is in use; used on the walk worker
  std::uint64_t rendered_sequence_ = 0;
  std::string stuck_;
  bool refusal_told_ = false;
  bool refusing_ = false;  // what would fit is being measured, or was
  std::string ring_too_small_;

  RunReport report_;  // the snapshot and walk parts only
};

}  // namespace floe::cli
