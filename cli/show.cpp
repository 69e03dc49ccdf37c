// `floe show SNAPSHOT`: what a kept snapshot says of its kernel, read from its memory alone.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <ctime>

#include "cli/cli11.hpp"
#include "cli/command.hpp"
#include "cli/json.hpp"
#include "freeze/snapshot_file.hpp"
#include "walkers/kernel.hpp"
#include "walkers/tasks.hpp"
#include "walkers/uts.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

constexpr auto kWalkLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

struct Shown {
  const freeze::SnapshotFile& file;
  const walkers::Kernel& kernel;
  walkers::Uts uts;
  walkers::TaskTable tasks;
};

std::string utc(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{}.{:03} UTC", text, realtime_ns / 1'000'000 % 1000);
}

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
  const freeze::SnapshotMeta& meta = s.file.meta();
  fmt::print("snapshot {} of {}\n", meta.sequence, utc(meta.realtime_ns));
  fmt::print("{} {} {} {} {}\n", printable(s.uts.sysname), printable(s.uts.nodename), printable(s.uts.release), printable(s.uts.version),
             printable(s.uts.machine));
  fmt::print("pause {} us (kick to park {}, capture {}), {} pages copied before it, {} in it\n", meta.pause_us, meta.kick_to_park_us,
             meta.capture_us, meta.dirty_pages - meta.residual_pages, meta.residual_pages);
  for (const auto& vcpu : s.file.machine().vcpus) {
    const auto symbol = s.kernel.symbols().at(Kva(vcpu.ip));
    fmt::print("vCPU {}: ip {:016x}{} sp {:016x} cr3 {:016x}\n", vcpu.id, vcpu.ip,
               symbol ? fmt::format(" {}+{:#x}", printable(symbol->name), symbol->offset) : "", vcpu.sp, vcpu.cr3);
  }
  fmt::print("\n{:>9} {:>7}  {:<2} {:>4}  {}\n", "PID", "PPID", "S", "CPU", "COMM");
  for (const walkers::Task& task : s.tasks.tasks) print_task(task);
  fmt::print("{} tasks{}\n", s.tasks.tasks.size(), s.tasks.complete ? "" : " (incomplete)");
  for (const std::string& problem : s.tasks.problems) fmt::print("  {}\n", printable(problem));
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

void print_json(const Shown& s) {
  const freeze::SnapshotMeta& meta = s.file.meta();
  json::array tasks, idle, vcpus;
  for (const walkers::Task& task : s.tasks.tasks) tasks.push_back(task_json(task));
  for (const walkers::Task& task : s.tasks.idle) idle.push_back(task_json(task));
  for (const auto& vcpu : s.file.machine().vcpus)
    vcpus.push_back({{"id", vcpu.id},
                     {"ip", fmt::format("{:#018x}", vcpu.ip)},
                     {"sp", fmt::format("{:#018x}", vcpu.sp)},
                     {"cr3", fmt::format("{:#018x}", vcpu.cr3)}});
  json::array problems;
  for (const std::string& problem : s.tasks.problems) problems.emplace_back(json_text(problem));
  const json::object document{
      {"schema", "floe-snapshot/1"},
      {"sequence", meta.sequence},
      {"tick", meta.tick},
      {"realtime_ns", meta.realtime_ns},
      {"guest_clock_ns", meta.guest_clock_ns},
      {"pause_us", meta.pause_us},
      {"kick_to_park_us", meta.kick_to_park_us},
      {"capture_us", meta.capture_us},
      {"dirty_pages", meta.dirty_pages},
      {"residual_pages", meta.residual_pages},
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
  };
  fmt::print("{}", pretty_json(document));
}

Verdict show(std::vector<std::string> words) {
  std::string path;
  bool as_json = false;
  CLI::App app("Prints what a kept snapshot (OUT/snapshots/NNNNNN.floesnap) says of its kernel: release, vCPUs, tasks.", "floe show");
  app.add_option("SNAPSHOT", path, "the snapshot file; its page file must be beside it")->required();
  app.add_flag("--json", as_json, "machine-readable");
  if (const auto ended = parse(app, std::move(words))) return *ended;
  const auto file = freeze::SnapshotFile::open(path);
  if (!file) return {Exit::kUsage, file.error().message};
  walkers::OpenOptions options;
  if (!(*file)->machine().vcpus.empty()) options.cr3 = (*file)->machine().vcpus.front().cr3;
  const auto deadline = std::chrono::steady_clock::now() + kWalkLimit;
  options.deadline = deadline;
  const auto kernel = walkers::Kernel::open(**file, options);
  if (!kernel) return {Exit::kUsage, path + ": " + kernel.error().message};
  auto uts = walkers::uts(*kernel);
  if (!uts) return {Exit::kUsage, path + ": " + uts.error().message};
  auto tasks = walkers::tasks(*kernel, walkers::WalkBudget(walkers::kMostTaskSteps, deadline));
  if (!tasks) return {Exit::kUsage, path + ": " + tasks.error().message};
  const Shown shown{**file, *kernel, std::move(*uts), std::move(*tasks)};
  if (as_json)
    print_json(shown);
  else
    print_text(shown);
  if (const std::string problem = (*file)->problem(); !problem.empty()) return {Exit::kUsage, path + ": damaged: " + problem};
  return {};
}

const bool registered = register_command({"show", "print a kept snapshot", show});

}  // namespace
}  // namespace floe::cli
