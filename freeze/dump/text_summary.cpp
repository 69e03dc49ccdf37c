// The part of a report's text that answers "what happened": exit, stuck task, queues, CPUs, stacks, the kernel's last words.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "freeze/dump/schema.hpp"
#include "freeze/dump/text_report.hpp"
#include "freeze/dump/text_table.hpp"
#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {
namespace {

using walkers::scx::DsqState;
using walkers::scx::QueuedTask;

constexpr std::size_t kLogLines = 20;
constexpr std::size_t kTasksOfADsq = 32;

std::string kernel_line(const Report& report) {
  std::string out;
  if (report.kernel) out += fmt::format("kernel: {} {}", clean(report.kernel->release), clean(report.kernel->machine));
  if (report.capture && report.capture->sequence)
    out += fmt::format("{}{} {}", out.empty() ? "from: " : ", from ", clean(report.capture->source), *report.capture->sequence);
  else if (report.capture)
    out += fmt::format("{}a {}", out.empty() ? "from: " : ", from ", clean(report.capture->source));
  return out;
}

std::string scheduler_line(const Report& report) {
  const auto& sched = report.scx_sched_state;
  if (!sched) return "";
  std::string out = fmt::format("scheduler: {}", sched->ops_name ? clean(*sched->ops_name) : "(nameless)");
  if (sched->enable_state) out += ", " + clean(*sched->enable_state);
  if (sched->exit_kind != 0)
    out += fmt::format(", exit kind {}{}", sched->exit_kind, sched->exit_kind_name ? " " + clean(*sched->exit_kind_name) : "");
  if (sched->bypass_depth != 0) out += fmt::format(", bypass depth {}", sched->bypass_depth);
  if (sched->aborting) out += ", aborting";
  if (sched->watchdog_timeout) out += ", watchdog " + age_text(*sched->watchdog_timeout, report.capture);
  return out;
}

std::string exit_text(const Report& report) {
  if (!report.exit_info) return report.exit_info_unavailable ? "exit: <unavailable: " + clean(*report.exit_info_unavailable) + ">" : "";
  const auto& exit = *report.exit_info;
  std::string out = fmt::format("exit: {} (kind {}, code {})", clean(exit.reason), exit.kind, exit.exit_code);
  if (!exit.msg.empty()) out += "\n  " + clean(exit.msg);
  for (const std::string& frame : exit.backtrace) out += "\n    " + clean(frame);
  return out;
}

std::string tasks_of(const DsqState& dsq, const Report& report) {
  std::string out;
  for (std::size_t i = 0; i < std::min(dsq.tasks.size(), kTasksOfADsq); ++i) {
    const QueuedTask& task = dsq.tasks[i];
    out += fmt::format("\n    {}[{}]", clean(task.comm), task.pid);
    if (task.runnable_age_jiffies) out += " runnable for " + age_text(*task.runnable_age_jiffies, report.capture);
    out += fmt::format(", weight {}, slice {} ns", task.weight, task.slice);
    if (task.dsq_vtime != 0) out += fmt::format(", vtime {}", task.dsq_vtime);
  }
  if (dsq.tasks.size() > kTasksOfADsq) out += fmt::format("\n    and {} more", dsq.tasks.size() - kTasksOfADsq);
  return out;
}

std::string dsqs_text(const Report& report) {
  std::string out;
  std::size_t idle = 0;
  for (const DsqState& dsq : report.dsq_states) {
    if (dsq.nr == 0 && dsq.task_kvas.empty()) {
      ++idle;
      continue;
    }
    out += fmt::format("\n  {}: {} queued", dsq_text(dsq.id, {dsq}), dsq.nr);
    if (dsq.task_kvas.size() != dsq.nr || dsq.truncated)
      out += fmt::format(", {} found{}", dsq.task_kvas.size(), dsq.truncated ? " (truncated)" : "");
    out += tasks_of(dsq, report);
  }
  if (report.dsq_states.empty()) return "";
  return "dsqs:" + out + fmt::format("{}{} with nothing on {}", out.empty() ? " " : "\n  ", idle, idle == 1 ? "it" : "them");
}

std::string cpus_text(const Report& report) {
  if (report.rq_scx_states.empty()) return "";
  TextTable table({"cpu", "nr_running", "flags", "runnable", "current"}, {"", "  ", "  ", "  ", "  "});
  for (const auto& rq : report.rq_scx_states) {
    const std::string current =
        rq.curr_pid ? fmt::format("{}[{}]", rq.curr_comm ? clean(*rq.curr_comm) : "?", *rq.curr_pid) : std::string("-");
    table.add({std::to_string(rq.cpu), std::to_string(rq.nr_running), fmt::format("{:#x}", rq.flags),
               fmt::format("{}{}", rq.runnable_task_kvas.size(), rq.runnable_truncated ? "+" : ""), current});
  }
  std::string out = "cpus:\n" + table.text(2);
  out.pop_back();
  return out;
}

std::string backtraces_text(const Report& report) {
  std::string out;
  for (const Backtrace& trace : report.backtraces) {
    out += fmt::format("\n  {}[{}], {}", clean(trace.comm), trace.pid, clean(trace.why));
    if (trace.cpu) out += fmt::format(", on CPU {}", *trace.cpu);
    if (trace.unavailable) out += fmt::format(": <unavailable: {}>", clean(*trace.unavailable));
    for (const std::string& frame : trace.frames) out += "\n    " + clean(frame);
    if (!trace.reliable) out += "\n    (not reliable to its end)";
  }
  if (!out.empty()) return "backtraces:" + out;
  return report.backtraces_unavailable ? fmt::format("backtraces: <unavailable: {}>", clean(*report.backtraces_unavailable)) : "";
}

std::string log_text(const Report& report) {
  if (!report.kernel_log)
    return report.kernel_log_unavailable ? fmt::format("kernel_log: <unavailable: {}>", clean(*report.kernel_log_unavailable)) : "";
  const auto& lines = report.kernel_log->lines;
  const std::size_t from = lines.size() > kLogLines ? lines.size() - kLogLines : 0;
  std::string out = fmt::format("kernel_log: the last {} of {} lines", lines.size() - from, lines.size());
  for (std::size_t i = from; i < lines.size(); ++i)
    out += fmt::format("\n  [{:5}.{:06}] {}", lines[i].time_ns / 1'000'000'000, lines[i].time_ns / 1000 % 1'000'000, clean(lines[i].text));
  return out;
}

}  // namespace

std::string age_text(std::uint64_t jiffies, const std::optional<Capture>& capture) {
  if (!capture || !capture->hz || *capture->hz == 0) return fmt::format("{} jiffies", jiffies);
  return fmt::format("{:.3f} s", static_cast<double>(jiffies) / *capture->hz);
}

std::string dsq_text(std::uint64_t id, const std::vector<DsqState>& dsqs) {
  const auto found = std::find_if(dsqs.begin(), dsqs.end(), [&](const DsqState& dsq) { return dsq.id == id; });
  return found == dsqs.end() ? fmt::format("DSQ {:#x}", id) : fmt::format("DSQ {:#x} ({})", id, clean(found->origin));
}

std::string stuck_text(const Report& report) {
  const auto& oldest = report.oldest_runnable;
  if (!oldest) return "";
  const std::string age = age_text(oldest->age_jiffies, report.capture);
  if (!oldest->task) return fmt::format("longest wait: {}, by the watchdog's own clock", age);
  std::string out = fmt::format("longest wait: {}[{}] has been runnable for {}", clean(oldest->task->comm), oldest->task->pid, age);
  out += oldest->dsq ? ", on " + dsq_text(*oldest->dsq, report.dsq_states) : ", on no DSQ: it is in the scheduler's own hands";
  return out;
}

std::string reason_line(const Report& report) {
  std::string out;
  if (report.exit_info) {
    out = clean(report.exit_info->reason);
    if (!report.exit_info->msg.empty()) out += fmt::format("{}{}", out.empty() ? "" : ": ", clean(report.exit_info->msg));
  }
  if (const std::string stuck = stuck_text(report); !stuck.empty()) out += fmt::format("{}{}", out.empty() ? "" : "; ", stuck);
  return out;
}

std::string summary_text(const Report& report) {
  std::string head;
  for (const std::string& line : {kernel_line(report), scheduler_line(report), exit_text(report), stuck_text(report)})
    if (!line.empty()) head += (head.empty() ? "" : "\n") + line;
  std::string out = head;
  for (const std::string& section : {dsqs_text(report), cpus_text(report), backtraces_text(report), log_text(report)})
    if (!section.empty()) out += (out.empty() ? "" : "\n\n") + section;
  return out;
}

std::optional<std::string> task_text(const Report& report, std::int32_t pid) {
  const auto found =
      std::find_if(report.task_enrichments.begin(), report.task_enrichments.end(), [&](const auto& task) { return task.pid == pid; });
  if (found == report.task_enrichments.end()) return std::nullopt;
  std::string out = fmt::format("task {}[{}]", clean(found->comm), pid);
  const auto line = [&](const char* key, const auto& value) {
    using T = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>)
      out += fmt::format("\n  {:<22} {}", key, clean(value));
    else if constexpr (requires { value.empty(); })
      out += value.empty() ? "" : fmt::format("\n  {:<22} {}", key, fmt::join(value, " "));
    else
      out += fmt::format("\n  {:<22} {}", key, value);
  };
  schema::for_each_field<walkers::TaskDetails>([&](const auto& field) {
    const auto& value = *found.*field.member;
    if constexpr (requires { value.has_value(); }) {
      if (value) line(field.key, *value);
    } else {
      line(field.key, value);
    }
  });
  for (const DsqState& dsq : report.dsq_states)
    if (std::find(dsq.task_kvas.begin(), dsq.task_kvas.end(), found->task_kva) != dsq.task_kvas.end())
      out += fmt::format("\n  {:<22} {}", "queued on", dsq_text(dsq.id, {dsq}));
  for (const Backtrace& trace : report.backtraces)
    if (trace.pid == pid)
      for (const std::string& frame : trace.frames) out += "\n    " + clean(frame);
  return out;
}

}  // namespace floe::freeze::dump
