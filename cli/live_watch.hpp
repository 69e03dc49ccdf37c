// What floe looks at in the running guest, between snapshots: the word in which the kernel writes why a scheduler ends, variables that
// somebody asked to have watched, and how long the longest wait is. Each is a reason for a capture at once. Kernel operations that are
// asked for go through here too, for they need the same: the kernel's tables, and its memory as it is now.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/run_report.hpp"
#include "cli/snapshot_series.hpp"
#include "engine/engine.hpp"
#include "freeze/kernel_ops.hpp"
#include "freeze/watch_beat.hpp"
#include "freeze/word_watch.hpp"
#include "walkers/scx/layout.hpp"

namespace floe::cli {

class LiveWatch {
 public:
  struct Tell {
    std::function<void()> failure;                         // the scheduler is being thrown out, at this moment
    std::function<void(const std::string& text)> latched;  // a program of the guest says that it has failed
    std::function<void()> long_wait;                       // somebody has waited for half of what the watchdog allows
    std::function<void(const std::string& symbol)> fired;  // a variable that was asked for has another value
  };
  struct Setting {
    bool nested = false;
    bool hardware = false;  // debug registers fire on this host: vmm::write_watches_fire()
    freeze::LatchName latch = {};
  };
  // Before the vCPUs start.
  LiveWatch(vmm::Vm& vm, SnapshotSeries& series, Setting setting, Tell tell);

  // Until stopped.
  engine::task<> run();

  // One more look at the words, by whoever ends all this.
  void last_look();

  // Watches a kernel variable; told once when it changes. Errors: WordWatch::watch(), or the kernel's tables are not known (yet).
  engine::task<> watch(std::string symbol);
  // Answers in every case but that of a stopped caller.
  engine::task<freeze::KernelReply> kernel_op(freeze::KernelOpRequest request);

  // freeze::task_named(), in the guest as it is now.
  engine::task<vmm::wire::TaskTarget> find_task(std::string name);

  // The kernel's tables have been read: captures and watches find their way.
  bool knows_kernel() const { return held_ == 0 && words_.places() && words_.places()->types; }
  freeze::WordWatch::Scheduler scheduler() const { return held_ == 0 ? words_.scheduler() : freeze::WordWatch::Scheduler::changing; }

  // For a capture that is degraded; as it is now.
  freeze::EndWords end_words();

  // How exit_kind and the variables are watched, for the manifest.
  void report(RunReport& report) const;

 private:
  engine::task<> poll();
  void look_at_words();
  engine::task<> look();
  struct Waits {
    std::optional<std::uint64_t> oldest, threshold;  // jiffies
  };
  Waits measure_waits(const walkers::Kernel& tables);

  vmm::Vm& vm_;
  SnapshotSeries& series_;
  vmm::DebugRegisters* hardware_;  // null where they do not fire
  freeze::WatchBeat poll_beat_;
  std::chrono::nanoseconds look_period_;
  Tell tell_;
  freeze::LiveMemory live_;
  freeze::WordWatch words_;
  std::vector<WatchedVariable> watched_;                              // the first of them
  std::optional<walkers::scx::Layout> layout_;                        // used by look()'s worker
  unsigned held_ = 0;                                                 // words_ is in a worker's hands: no polls meanwhile
  freeze::LatchState latch_seen_ = freeze::LatchState::not_resolved;  // when it was there last
  bool failure_told_ = false, latch_told_ = false, wait_told_ = false;
};

}  // namespace floe::cli
