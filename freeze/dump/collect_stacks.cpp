#include "freeze/dump/collect_stacks.hpp"

#include <algorithm>

#include "freeze/dump/collect.hpp"
#include "walkers/code_address.hpp"
#include "walkers/printk.hpp"

namespace floe::freeze::dump {
namespace {

constexpr std::uint64_t kMostStackSteps = 65'536;

const walkers::Task* task_at(const walkers::TaskTable& tasks, std::uint64_t kva) {
  for (const auto* list : {&tasks.tasks, &tasks.idle})
    for (const walkers::Task& task : *list)
      if (task.address.value == kva) return &task;
  return nullptr;
}

// Longest wait first.
std::vector<std::uint64_t> stuck_tasks(const Report& report) {
  std::vector<std::uint64_t> stuck;
  if (report.oldest_runnable && report.oldest_runnable->task) stuck.push_back(report.oldest_runnable->task->kva);
  const auto timeout = report.scx_sched_state ? report.scx_sched_state->watchdog_timeout : std::nullopt;
  if (!timeout) return stuck;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> waiting;
  for (const auto& task : report.task_enrichments)
    if (task.runnable_age_jiffies && *task.runnable_age_jiffies > *timeout / 2)
      waiting.emplace_back(*task.runnable_age_jiffies, task.task_kva);
  std::sort(waiting.rbegin(), waiting.rend());
  for (const auto& [age, kva] : waiting)
    if (std::find(stuck.begin(), stuck.end(), kva) == stuck.end()) stuck.push_back(kva);
  return stuck;
}

Backtrace made_of(const walkers::Task& task, const char* why, const walkers::Backtrace& found) {
  Backtrace made;
  made.pid = task.pid;
  made.comm = task.comm;
  if (task.on_cpu.value_or(false)) made.cpu = task.cpu;
  made.why = why;
  made.reliable = found.complete && std::all_of(found.frames.begin(), found.frames.end(), [](const auto& frame) { return frame.reliable; });
  for (const walkers::Frame& frame : found.frames) made.frames.push_back(frame.text);
  if (!found.reason.empty()) made.unavailable = found.reason;
  return made;
}

}  // namespace

Result<KernelLog> collect_log(const walkers::Kernel& kernel, Deadline deadline, std::uint64_t most) {
  auto found = walkers::kernel_log(kernel, walkers::WalkBudget(walkers::kMostLogRecords, deadline));
  if (!found) return fail(std::move(found.error()));
  KernelLog log;
  const std::size_t from = most != 0 && found->records.size() > most ? found->records.size() - most : 0;
  log.lines_before = found->left_out + from;
  log.truncated = !found->complete && found->left_out == 0;
  for (std::size_t i = from; i < found->records.size(); ++i) {
    auto& record = found->records[i];
    log.lines.push_back({record.seq, record.ts_nsec, record.level, std::move(record.text)});
  }
  return log;
}

void collect_stacks(const walkers::Kernel& kernel, const walkers::TaskTable& tasks, std::span<const walkers::CpuRegisters> cpus,
                    Deadline deadline, Report& report) {
  const walkers::CodeAddresses code(
      kernel, walkers::WalkBudget(walkers::CodeAddresses::kMaxModules + walkers::CodeAddresses::kMaxBpfSymbols, deadline));
  for (const std::string& problem : code.problems()) report.reasons.push_back({"backtraces", problem});
  for (auto& regs : report.vcpu_regs)
    if (regs)
      if (const auto place = code.find(Kva(regs->instruction_pointer))) regs->symbol = place->text();
  const auto unwinder = walkers::Unwinder::create(kernel, code);
  if (!unwinder) {
    report.backtraces_unavailable = unwinder.error().message;
    return;
  }
  walkers::WalkBudget budget(kMostStackSteps, deadline);
  const auto add = [&](const walkers::Task& task, const char* why) {
    if (report.backtraces.size() < kMostBacktraces) report.backtraces.push_back(made_of(task, why, unwinder->of(task, cpus, budget)));
  };
  for (const std::uint64_t kva : stuck_tasks(report))
    if (const walkers::Task* task = task_at(tasks, kva)) add(*task, "stuck");
  for (const auto* list : {&tasks.tasks, &tasks.idle})
    for (const walkers::Task& task : *list)
      if (task.on_cpu.value_or(false)) add(task, "current");
}

}  // namespace floe::freeze::dump
