// Watches one guest's scheduler from snapshot to snapshot and says when it has failed: the kernel is throwing it out or has thrown it out
// in the error class, or a task has waited so long that the scheduler's own watchdog, which looks twice in its timeout, must have seen it
// and has not.
//
// The kernel keeps its reason (scx_exit_info) for about 0.1 s only, so a snapshot seldom has it; where none has, the kernel's log does,
// also of a scheduler that attached and failed between two snapshots. One that left in good order is no failure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"
#include "walkers/scx/layout.hpp"
#include "walkers/scx/records.hpp"

namespace floe::freeze {

struct SchedulerFailure {
  bool stall = false;   // else any other error
  std::string name;     // of the scheduler
  std::string reason;   // the kernel's: "runnable task stall", "scx_bpf_error"; empty when only a task's wait told
  std::string message;  // scx_exit_info.msg: "stallme[107] failed to run for 5.008s"
  std::optional<walkers::scx::OldestRunnable> oldest;  // who waited, when it was that
  std::optional<std::uint64_t> watchdog_timeout;       // jiffies
  std::optional<std::uint32_t> hz;

  // Sequence numbers of snapshots: the last in which the scheduler was still in charge (its DSQs tell who was stuck where; absent when
  // none saw it), and the one that showed the failure (the same one when a task's wait did).
  std::optional<std::uint64_t> before;
  std::uint64_t shown_by = 0;

  // "the scheduler floe_stall stalled: stallme[107] failed to run for 5.008s"
  std::string describe() const;
};

// The end of a scheduler as the kernel's log has it: what scx_disable_workfn() prints.
//
//   sched_ext: BPF scheduler "floe_stall" disabled (runnable task stall)
//   sched_ext: floe_stall: stallme[107] failed to run for 5.008s
struct LoggedEnd {
  std::string name;
  std::string reason;
  std::string message;
  bool is_error() const;
  bool is_stall() const;
};

// Puts the lines of a log together. Only lines of the kernel itself may be given to it.
class LoggedEnds {
 public:
  void line(std::string_view text);
  // The last scheduler that was disabled.
  const std::optional<LoggedEnd>& last() const { return last_; }
  // The last one that was thrown out, whoever has left in good order since.
  const std::optional<LoggedEnd>& failed() const { return last_ && last_->is_error() ? last_ : failed_; }

 private:
  std::optional<LoggedEnd> last_, failed_;
};

class SchedulerWatch {
 public:
  // Reads the snapshot with this number; they come in order. Takes far less than a millisecond for a thousand tasks; the layout of the
  // kernel is worked out at the first one only. True when this one shows the failure.
  bool look(const walkers::Kernel& kernel, std::uint64_t sequence, walkers::WalkBudget budget);

  // It stays, whatever comes after; but a message that the kernel had not written yet is added by a later look.
  const std::optional<SchedulerFailure>& failure() const { return failure_; }

  bool seen() const { return seen_; }  // a scheduler was attached in some snapshot
  // In the last one it was, and well: how it ends is not known.
  bool attached() const { return attached_; }
  const std::string& name() const { return name_; }  // of the one seen last
  std::optional<std::uint64_t> last_attached() const { return last_attached_; }

  // Of the last look that found one in charge: who had waited longest, and for how long its watchdog lets them (jiffies).
  const std::optional<walkers::scx::OldestRunnable>& oldest() const { return oldest_; }
  std::optional<std::uint64_t> watchdog_timeout() const { return watchdog_timeout_; }

  // What the last look cost.
  std::uint64_t steps() const { return steps_; }

 private:
  void add_message(const walkers::Kernel& kernel, walkers::WalkBudget budget);
  std::optional<LoggedEnd> logged_failure(const walkers::Kernel& kernel, walkers::WalkBudget budget);
  bool is_overdue(const walkers::Kernel& kernel) const;
  bool fail(const walkers::Kernel& kernel, SchedulerFailure failure, std::uint64_t sequence);
  bool look_at_log(const walkers::Kernel& kernel, std::uint64_t sequence, walkers::WalkBudget budget);

  std::optional<walkers::scx::Layout> layout_;
  std::optional<SchedulerFailure> failure_;
  bool seen_ = false;
  bool attached_ = false;
  std::string name_;
  std::optional<std::uint64_t> last_attached_;
  std::optional<walkers::scx::OldestRunnable> oldest_;
  std::optional<std::uint64_t> watchdog_timeout_;
  std::optional<std::uint64_t> log_head_;  // everything up to it has been read, and no failure was in it
  std::uint64_t steps_ = 0;
};

}  // namespace floe::freeze
