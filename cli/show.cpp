// `floe show MEMORY`: what a kept snapshot or a core says of its kernel, read from its memory alone.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/command.hpp"
#include "cli/flags.hpp"
#include "cli/json.hpp"
#include "cli/memory_source.hpp"
#include "cli/report_of.hpp"
#include "cli/show_kernel.hpp"
#include "cli/show_report.hpp"
#include "freeze/dump/json.hpp"
#include "walkers/kernel.hpp"
#include "walkers/tasks.hpp"
#include "walkers/uts.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

constexpr auto kWalkLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

struct Shown {
  const MemorySource& source;
  const walkers::Kernel& kernel;
  walkers::Uts uts;
  walkers::TaskTable tasks;
};

std::string or_dash(const std::optional<std::uint32_t>& value) {
  return value ? std::to_string(*value) : "-";
}

void print_task(const walkers::Task& task) {
  const std::string parent = task.ppid ? std::to_string(*task.ppid) : "-";
  const std::string pid = task.leads() ? std::to_string(task.pid) : fmt::format("{}.{}", task.tgid, task.pid);
  const std::string comm = task.kernel_thread ? "[" + printable(task.comm) + "]" : printable(task.comm);
  fmt::print("{:>9} {:>7}  {}{} {:>4}  {}\n", pid, parent, task.state, task.on_cpu.value_or(false) ? '*' : ' ', or_dash(task.cpu), comm);
}

void print_text(const Shown& s) {
  fmt::print("{}\n", s.source.description());
  fmt::print("{} {} {} {} {}\n", printable(s.uts.sysname), printable(s.uts.nodename), printable(s.uts.release), printable(s.uts.version),
             printable(s.uts.machine));
  if (const auto* const snapshot = s.source.snapshot()) {
    const freeze::SnapshotMeta& meta = snapshot->meta();
    fmt::print("pause {} us (kick to park {}, capture {}), {} pages copied before it, {} in it\n", meta.pause_us, meta.kick_to_park_us,
               meta.capture_us, meta.dirty_pages - meta.residual_pages, meta.residual_pages);
  }
  for (const auto& cpu : s.source.cpus()) {
    const auto symbol = s.kernel.symbols().at(Kva(cpu.rip));
    fmt::print("vCPU {}: ip {:016x}{} sp {:016x}{}\n", cpu.id, cpu.rip,
               symbol ? fmt::format(" {}+{:#x}", printable(symbol->name), symbol->offset) : "", cpu.rsp,
               cpu.cr3() ? fmt::format(" cr3 {:016x}", *cpu.cr3()) : "");
  }
  fmt::print("\n{:>9} {:>7}  {:<2} {:>4}  {}\n", "PID", "PPID", "S", "CPU", "COMM");
  for (const walkers::Task& task : s.tasks.tasks) print_task(task);
  fmt::print("{} tasks{}\n", s.tasks.tasks.size(), s.tasks.complete ? "" : " (incomplete)");
  for (const std::string& problem : s.tasks.problems) fmt::print("  {}\n", printable(problem));
  for (const std::string& problem : s.source.problems()) fmt::print("{}\n", printable(problem));
}

json::value task_json(const walkers::Task& task) {
  json::object o{{"pid", task.pid},
                 {"tgid", task.tgid},
                 {"comm", json_text(task.comm)},
                 {"state", std::string(1, task.state)},
                 {"kernel_thread", task.kernel_thread}};
  o["ppid"] = task.ppid ? json::value(*task.ppid) : json::value(nullptr);
  o["on_cpu"] = task.on_cpu ? json::value(*task.on_cpu) : json::value(nullptr);
  o["cpu"] = task.cpu ? json::value(*task.cpu) : json::value(nullptr);
  o["task_struct"] = fmt::format("{:#018x}", task.address.value);
  return o;
}

// What only a snapshot of floe knows.
void add_meta(json::object& document, const freeze::SnapshotMeta& meta) {
  document["sequence"] = meta.sequence;
  document["tick"] = meta.tick;
  document["guest_clock_ns"] = meta.guest_clock_ns;
  document["pause_us"] = meta.pause_us;
  document["kick_to_park_us"] = meta.kick_to_park_us;
  document["capture_us"] = meta.capture_us;
  document["dirty_pages"] = meta.dirty_pages;
  document["residual_pages"] = meta.residual_pages;
}

void print_json(const Shown& s, const ShownKernel& kernel_of, const ShowOptions& sections) {
  json::array tasks, idle, vcpus;
  for (const walkers::Task& task : s.tasks.tasks) tasks.push_back(task_json(task));
  for (const walkers::Task& task : s.tasks.idle) idle.push_back(task_json(task));
  for (const auto& cpu : s.source.cpus())
    vcpus.push_back({{"id", cpu.id},
                     {"ip", fmt::format("{:#018x}", cpu.rip)},
                     {"sp", fmt::format("{:#018x}", cpu.rsp)},
                     {"cr3", cpu.cr3() ? json::value(fmt::format("{:#018x}", *cpu.cr3())) : json::value(nullptr)}});
  json::array problems;
  for (const std::string& problem : s.tasks.problems) problems.emplace_back(json_text(problem));
  json::array source_problems;
  for (const std::string& problem : s.source.problems()) source_problems.emplace_back(json_text(problem));
  json::object document{{"schema", "floe-snapshot/1"}, {"source", s.source.description()}, {"realtime_ns", s.source.realtime_ns()}};
  if (const auto* const snapshot = s.source.snapshot()) add_meta(document, snapshot->meta());
  const json::object kernel{
      {"uts",
       {{"sysname", json_text(s.uts.sysname)},
        {"nodename", json_text(s.uts.nodename)},
        {"release", json_text(s.uts.release)},
        {"version", json_text(s.uts.version)},
        {"machine", json_text(s.uts.machine)}}},
      {"kaslr_offset", fmt::format("{:#x}", s.kernel.info().kernel_offset())},
      {"vcpus", vcpus},
      {"tasks", tasks},
      {"idle_tasks", idle},
      {"tasks_complete", s.tasks.complete},
      {"tasks_problems", problems},
      {"problems", source_problems},
  };
  document.insert(kernel.begin(), kernel.end());
  add_kernel_sections(document, kernel_of, sections);
  fmt::print("{}", pretty_json(document));
}

Verdict show_dump(const std::string& path, const ReportView& view) {
  const auto text = read_dump(path);
  if (!text) return {Exit::kUsage, text.error().message};
  const auto report = freeze::dump::parse_report(*text);
  if (!report) return {Exit::kUsage, path + ": " + report.error().message};
  return show_report(path, *report, view);
}

Verdict show(std::vector<std::string> words) {
  std::string path;
  bool as_json = false;
  ShowOptions sections;
  ReportView view;
  Flags flags("Prints a failure dump, or what a memory says of its kernel: release, vCPUs, tasks; or its log, its stacks, a map, a task.",
              "floe show");
  flags
      .add("MEMORY", path,
           "a failure dump, a kept snapshot (its page file must be beside it), a run's folder (its newest snapshot), or an ELF core")
      .required();
  flags.add("--log", sections.log, "the kernel's log, as dmesg prints it");
  const Flag stacks = flags.add("--stacks", sections.stacks, "the kernel stacks of tasks");
  flags.add("--map", view.map, "this BPF map with all in it").value_text("NAME").excludes(stacks);
  flags.add("--task", sections.task, "all that is known of this process or thread; with --stacks its stack").value_text("PID");
  flags.add("--json", as_json, "machine-readable");
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  view.json = as_json;
  if (!sections.stacks) view.task = sections.task;
  if (looks_like_dump(path)) return show_dump(path, view);
  const auto source = MemorySource::open(path);
  if (!source) return {Exit::kUsage, source.error().message};
  if (!view.map.empty() || view.task) {
    auto report = report_of(*source, {});
    if (!report) return {Exit::kUsage, report.error().message};
    return show_report(path, std::move(*report), view);
  }
  walkers::OpenOptions options;
  const auto deadline = std::chrono::steady_clock::now() + kWalkLimit;
  options.deadline = deadline;
  const auto kernel = source->open_kernel(options);
  if (!kernel) return {Exit::kUsage, kernel.error().message};
  auto uts = walkers::uts(*kernel);
  if (!uts) return {Exit::kUsage, path + ": " + uts.error().message};
  auto tasks = walkers::tasks(*kernel, walkers::WalkBudget(walkers::kMostTaskSteps, deadline));
  if (!tasks) return {Exit::kUsage, path + ": " + tasks.error().message};
  const Shown shown{*source, *kernel, std::move(*uts), std::move(*tasks)};
  const ShownKernel kernel_of{*source, *kernel, shown.tasks, deadline};
  if (as_json) {
    print_json(shown, kernel_of, sections);
  } else {
    if (!sections.log && !sections.stacks) print_text(shown);
    if (sections.log) print_log(kernel_of);
    if (sections.stacks) print_stacks(kernel_of, sections);
  }
  if (source->damaged()) return {Exit::kUsage, path + ": damaged: " + source->problems().back()};
  return {};
}

const bool registered = register_command({"show", "print a failure dump, a kept snapshot or a core", show});

}  // namespace
}  // namespace floe::cli
