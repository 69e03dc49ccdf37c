#include "freeze/scheduler_watch.hpp"

#include <fmt/format.h>

#include <utility>

#include "walkers/printk.hpp"
#include "walkers/scx/runnable.hpp"
#include "walkers/scx/sched.hpp"
#include "walkers/tick_rate.hpp"

namespace floe::freeze {
namespace {

namespace scx = walkers::scx;

// What scx_exit_reason() in kernel/sched/ext.c calls the kinds of the error class.
constexpr std::string_view kStall = "runnable task stall";
constexpr std::string_view kErrors[] = {"runtime error", "scx_bpf_error", kStall};

std::string seconds(std::uint64_t jiffies, std::optional<std::uint32_t> hz) {
  if (!hz) return fmt::format("{} jiffies", jiffies);
  return fmt::format("{:.1f} s", static_cast<double>(jiffies) / *hz);
}

}  // namespace

std::string SchedulerFailure::describe() const {
  const std::string who = name.empty() ? "the scheduler" : "the scheduler " + name;
  if (oldest) {
    const std::string limit = watchdog_timeout ? ", its watchdog allows " + seconds(*watchdog_timeout, hz) : "";
    if (!oldest->task) return fmt::format("{} stalled: its watchdog has not run for {}{}", who, seconds(oldest->age_jiffies, hz), limit);
    const std::string where = oldest->dsq ? fmt::format("on DSQ {:#x}", *oldest->dsq) : "on no DSQ";
    return fmt::format("{} stalled: {}[{}] has been runnable for {} {}{}", who, oldest->task->comm, oldest->task->pid,
                       seconds(oldest->age_jiffies, hz), where, limit);
  }
  const std::string what = stall ? "stalled" : fmt::format("was thrown out ({})", reason);
  return message.empty() ? fmt::format("{} {}", who, what) : fmt::format("{} {}: {}", who, what, message);
}

bool LoggedEnd::is_stall() const {
  return reason == kStall;
}

bool LoggedEnd::is_error() const {
  for (const auto error : kErrors)
    if (reason == error) return true;
  return false;
}

void LoggedEnds::line(std::string_view text) {
  constexpr std::string_view kPrefix = "sched_ext: ";
  constexpr std::string_view kScheduler = "BPF scheduler \"";
  constexpr std::string_view kDisabled = "\" disabled (";
  const auto start = text.find(kPrefix);
  if (start == text.npos) return;
  text.remove_prefix(start + kPrefix.size());
  if (text.starts_with(kScheduler)) {
    text.remove_prefix(kScheduler.size());
    const auto middle = text.find(kDisabled);
    const auto end = text.rfind(')');
    if (middle == text.npos || end == text.npos || end < middle + kDisabled.size()) return;
    failed_ = failed();
    last_ = LoggedEnd{std::string(text.substr(0, middle)),
                      std::string(text.substr(middle + kDisabled.size(), end - middle - kDisabled.size())), ""};
  } else if (last_ && last_->message.empty() && text.starts_with(last_->name) && text.substr(last_->name.size()).starts_with(": ")) {
    last_->message = text.substr(last_->name.size() + 2);
  }
}

bool SchedulerWatch::look(const walkers::Kernel& kernel, std::uint64_t sequence, walkers::WalkBudget budget) {
  if (failure_) {
    if (failure_->message.empty() && layout_ && layout_->exists()) add_message(kernel, budget);
    return false;
  }
  // The tables of a kernel are taken over from snapshot to snapshot, unless the guest has booted another.
  if (!layout_ || !kernel.times().tables_reused) {
    layout_ = scx::Layout::of(kernel);
    log_head_.reset();
  }
  if (!layout_->exists()) return false;
  scx::Walk walk(kernel, *layout_, budget);
  const auto sched = scx::sched_state(walk);
  if (!sched) {
    attached_ = false;
    return look_at_log(kernel, sequence, budget);
  }
  // While it is being disabled exit_kind is "done" already, and what it was stands in the exit info.
  const auto info = scx::exit_info(walk);
  const std::uint32_t kind = info && info->kind != 0 ? info->kind : sched->exit_kind;
  // Well now, but one before it may have failed.
  if (!scx::is_error(kind) && look_at_log(kernel, sequence, budget)) return true;
  name_ = sched->ops_name.value_or("");
  seen_ = true;
  if (scx::is_error(kind)) {
    SchedulerFailure failure;
    failure.stall = scx::is_stall(kind);
    failure.reason = info && !info->reason.empty() ? info->reason : scx::exit_kind_name(kind);
    if (info) failure.message = info->msg;
    return fail(kernel, std::move(failure), sequence);
  }
  attached_ = kind == 0;
  if (!attached_) return false;  // it leaves in good order
  last_attached_ = sequence;
  const auto oldest = scx::oldest_runnable(walk);
  steps_ = budget.taken();
  oldest_.reset();
  if (oldest) oldest_ = *oldest;
  watchdog_timeout_ = sched->watchdog_timeout;
  if (!is_overdue(kernel)) return false;
  SchedulerFailure failure;
  failure.stall = true;
  failure.oldest = oldest_;
  failure.watchdog_timeout = watchdog_timeout_;
  return fail(kernel, std::move(failure), sequence);
}

// scx_watchdog_workfn() looks every half timeout, so that it speaks by one and a half; a second more for it to be run at all.
bool SchedulerWatch::is_overdue(const walkers::Kernel& kernel) const {
  if (!oldest_ || !watchdog_timeout_ || *watchdog_timeout_ == 0 || oldest_->age_jiffies <= *watchdog_timeout_) return false;
  return oldest_->age_jiffies - *watchdog_timeout_ > *watchdog_timeout_ / 2 + walkers::tick_rate(kernel).value_or(1000);
}

// A scheduler that went away between two snapshots took its exit info with it. The kernel logs an error exit before it lets go of the
// scheduler (scx_root_disable() in kernel/sched/ext.c), so once that is gone all has been said. The log is that of this boot; a line that a
// process wrote to /dev/kmsg is of another facility.
std::optional<LoggedEnd> SchedulerWatch::logged_failure(const walkers::Kernel& kernel, walkers::WalkBudget budget) {
  const auto head = walkers::kernel_log_head(kernel);
  if (!head || head.value() == log_head_) return std::nullopt;
  const auto log = walkers::kernel_log(kernel, budget);
  if (!log) return std::nullopt;
  LoggedEnds ends;
  for (const auto& record : log->records)
    if (record.facility == 0) ends.line(record.text);
  if (log->complete && log->reserved == 0) log_head_ = *head;
  return ends.failed();
}

bool SchedulerWatch::look_at_log(const walkers::Kernel& kernel, std::uint64_t sequence, walkers::WalkBudget budget) {
  const auto end = logged_failure(kernel, budget);
  if (!end) return false;
  SchedulerFailure failure;
  failure.stall = end->is_stall();
  failure.name = end->name;
  failure.reason = end->reason;
  failure.message = end->message;
  return fail(kernel, std::move(failure), sequence);
}

// The kernel sets exit_kind first (scx_claim_exit() in kernel/sched/ext.c); what it has to say comes after, and the log last.
void SchedulerWatch::add_message(const walkers::Kernel& kernel, walkers::WalkBudget budget) {
  scx::Walk walk(kernel, *layout_, budget);
  const auto info = scx::exit_info(walk);
  if (info && scx::is_error(info->kind) && !info->msg.empty()) {
    failure_->reason = info->reason;
    failure_->message = info->msg;
    return;
  }
  const auto end = logged_failure(kernel, budget);
  if (!end || end->name != failure_->name || end->message.empty()) return;
  failure_->reason = end->reason;
  failure_->message = end->message;
}

bool SchedulerWatch::fail(const walkers::Kernel& kernel, SchedulerFailure failure, std::uint64_t sequence) {
  if (failure.name.empty()) failure.name = name_;
  failure.hz = walkers::tick_rate(kernel);
  if (failure.name == name_) failure.before = last_attached_;
  failure.shown_by = sequence;
  failure_ = std::move(failure);
  attached_ = false;
  return true;
}

}  // namespace floe::freeze
