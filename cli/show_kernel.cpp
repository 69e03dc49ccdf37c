#include "cli/show_kernel.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/json.hpp"
#include "walkers/printk.hpp"
#include "walkers/unwind.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

std::vector<walkers::CpuRegisters> registers_of(const MemorySource& source) {
  std::vector<walkers::CpuRegisters> cpus;
  for (const auto& cpu : source.cpus())
    cpus.push_back({.cpu = cpu.id,
                    .ip = cpu.rip,
                    .sp = cpu.rsp,
                    .bp = cpu.rbp,
                    .ax = cpu.rax,
                    .dx = cpu.rdx,
                    .di = cpu.rdi,
                    .r10 = cpu.r10,
                    .r13 = cpu.r13});
  return cpus;
}

// Calls visit(task, backtrace) for the tasks that are wanted. The error: why no stack of this kernel can be read.
template <class Visit>
Result<void> each_stack(const ShownKernel& shown, const ShowOptions& options, const Visit& visit) {
  const walkers::CodeAddresses code(shown.kernel);
  const auto unwinder = walkers::Unwinder::create(shown.kernel, code);
  if (!unwinder) return fail(unwinder.error());
  const auto cpus = registers_of(shown.source);
  walkers::WalkBudget budget(walkers::kMostTaskSteps * walkers::Unwinder::kMaxFrames, shown.deadline);
  for (const auto* const list : {&shown.tasks.tasks, &shown.tasks.idle})
    for (const walkers::Task& task : *list)
      if (!options.task || *options.task == task.pid || *options.task == task.tgid) visit(task, unwinder->of(task, cpus, budget));
  return {};
}

Result<walkers::KernelLog> log_of(const ShownKernel& shown) {
  return walkers::kernel_log(shown.kernel, walkers::WalkBudget(walkers::kMostLogRecords, shown.deadline));
}

json::array texts(const std::vector<std::string>& lines) {
  json::array array;
  for (const std::string& line : lines) array.emplace_back(json_text(line));
  return array;
}

json::object log_json(const walkers::KernelLog& log) {
  json::array records;
  for (const walkers::LogRecord& record : log.records) {
    json::object o{{"seq", record.seq},     {"time_ns", record.ts_nsec}, {"level", record.level},         {"facility", record.facility},
                   {"flags", record.flags}, {"caller", record.caller()}, {"text", json_text(record.text)}};
    if (!record.comm.empty()) o["comm"] = json_text(record.comm);
    if (!record.subsystem.empty()) o["subsystem"] = json_text(record.subsystem);
    if (!record.device.empty()) o["device"] = json_text(record.device);
    if (record.pending) o["pending"] = true;
    records.push_back(std::move(o));
  }
  return {{"records", std::move(records)}, {"complete", log.complete}, {"reserved", log.reserved},
          {"reusable", log.reusable},      {"lost", log.lost},         {"damaged", log.damaged},
          {"left_out", log.left_out},      {"failed", log.failed},     {"problems", texts(log.problems)}};
}

json::object stack_json(const walkers::Task& task, const walkers::Backtrace& trace) {
  json::array frames;
  for (const walkers::Frame& frame : trace.frames)
    frames.push_back({{"ip", fmt::format("{:#018x}", frame.ip.value)}, {"text", json_text(frame.text)}, {"reliable", frame.reliable}});
  json::object o{{"pid", task.pid},
                 {"tgid", task.tgid},
                 {"comm", json_text(task.comm)},
                 {"state", std::string(1, task.state)},
                 {"frames", std::move(frames)},
                 {"complete", trace.complete}};
  if (!trace.reason.empty()) o["reason"] = json_text(trace.reason);
  return o;
}

}  // namespace

void print_log(const ShownKernel& shown) {
  const auto log = log_of(shown);
  if (!log) return fmt::print("no kernel log: {}\n", printable(log.error().message));
  for (const walkers::LogRecord& record : log->records) {
    const std::string lines = record.line();
    for (std::size_t start = 0; start <= lines.size();) {
      const std::size_t end = std::min(lines.find('\n', start), lines.size());
      fmt::print("{}\n", printable(std::string_view(lines).substr(start, end - start)));
      start = end + 1;
    }
  }
  if (log->left_out > 0) fmt::print("({} older records left out)\n", log->left_out);
  if (log->damaged > 0) fmt::print("({} records are damaged)\n", log->damaged);
  for (const std::string& problem : log->problems) fmt::print("  {}\n", printable(problem));
}

void print_stacks(const ShownKernel& shown, const ShowOptions& options) {
  std::size_t printed = 0;
  const auto done = each_stack(shown, options, [&](const walkers::Task& task, const walkers::Backtrace& trace) {
    fmt::print("{}{} {} {}{}\n", printed++ > 0 ? "\n" : "", task.pid, printable(task.comm), task.state,
               task.on_cpu.value_or(false) ? "*" : "");
    for (const walkers::Frame& frame : trace.frames) fmt::print("    {}{}\n", frame.reliable ? "" : "? ", printable(frame.text));
    if (!trace.reason.empty()) fmt::print("    ({})\n", printable(trace.reason));
  });
  if (!done) return fmt::print("no stacks: {}\n", printable(done.error().message));
  if (printed == 0) fmt::print("no such task\n");
}

void add_kernel_sections(json::object& document, const ShownKernel& shown, const ShowOptions& options) {
  if (options.log) {
    const auto log = log_of(shown);
    document["kernel_log"] = log ? json::value(log_json(*log)) : json::value(nullptr);
    if (!log) document["kernel_log_unavailable"] = json_text(log.error().message);
  }
  if (options.stacks) {
    json::array stacks;
    const auto done = each_stack(
        shown, options, [&](const walkers::Task& task, const walkers::Backtrace& trace) { stacks.push_back(stack_json(task, trace)); });
    document["stacks"] = done ? json::value(std::move(stacks)) : json::value(nullptr);
    if (!done) document["stacks_unavailable"] = json_text(done.error().message);
  }
}

}  // namespace floe::cli
