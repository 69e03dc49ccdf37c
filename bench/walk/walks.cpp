#include <fmt/format.h>

#include "bench/walk/peers.hpp"
#include "bench/walk/rows.hpp"
#include "freeze/core_export.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/json.hpp"
#include "walkers/scx/state.hpp"
#include "walkers/task_details.hpp"

namespace floe::bench {
namespace {

constexpr double kDrgnMs = 36;  // drgn 0.3 on another guest: 1,065 tasks by ten fields
constexpr double kDrgnTasks = 1065;

// Why it is no contender here.
std::string drgn() {
  if (!run_program({"drgn", "--version"})) return "not installed";
  return "takes a core and this kernel's debug symbols: floe dump --format core makes the one, the other is for you to fetch";
}

Result<> tasks(const Settings& settings, const Guest& big, Report& report) {
  const auto known = walkers::Kernel::open(*big.flat, big.how);
  if (!known) return fail(known.error());
  Contender names{.name = "table"}, details{.name = "table with details"};
  std::size_t found = 0;
  for (unsigned round = 0; round < rounds_of(settings, 30); ++round) {
    const auto times = task_table_ms(*big.flat, big, *known);
    if (!times) return fail(times.error());
    names.rounds.push_back(times->table);
    details.rounds.push_back(times->with_details);
    found = times->tasks;
  }
  const double bound = kDrgnMs / 15 * static_cast<double>(found) / kDrgnTasks;
  details.figures = {{"tasks", static_cast<double>(found)}, {"us/task", spread(details.rounds).median * 1e3 / static_cast<double>(found)}};
  Row row{.name = "tasks", .unit = "ms", .baseline = "", .contenders = {names, details}, .promises = {}};
  row.contenders.push_back({.name = "drgn", .absent = drgn()});
  row.promises = {{fmt::format("table with details a 15th of drgn's {:g} ms for {:g} tasks", kDrgnMs, kDrgnTasks), bound, false,
                   spread(details.rounds).median}};
  report.rows.push_back(std::move(row));
  return {};
}

Result<> queues(const Settings& settings, const Guest& stalled, Report& report) {
  const auto known = walkers::Kernel::open(*stalled.flat, stalled.how);
  if (!known) return fail(known.error());
  const auto layout = walkers::scx::Layout::of(*known);
  Contender state{.name = "all of sched_ext"};
  for (unsigned round = 0; round < rounds_of(settings, 30); ++round) {
    const auto kernel = afresh(*stalled.flat, stalled, *known);
    if (!kernel) return fail(kernel.error());
    walkers::WalkBudget budget(walkers::scx::kMostSteps);
    const double began = cpu_seconds();
    const auto read = walkers::scx::read_state(*kernel, layout, budget);
    state.rounds.push_back((cpu_seconds() - began) * 1e3);
    state.figures = {{"DSQs", static_cast<double>(read.dsqs.size())}};
  }
  Row row{.name = "scx.state", .unit = "ms", .baseline = "", .contenders = {state}, .promises = {}};
  row.promises = {median_at_most(row, "all of sched_ext", 0.2)};
  report.rows.push_back(std::move(row));
  return {};
}

// As floe dump makes it of a kept snapshot, the kernel being known.
Result<double> dump_ms(const walkers::Memory& memory, const Guest& stalled, const walkers::Kernel& known, double& json_ms,
                       std::size_t& json_bytes) {
  const auto kernel = afresh(memory, stalled, known);
  if (!kernel) return fail(kernel.error());
  freeze::dump::CollectOptions options;
  options.capture.source = "snapshot";
  for (const auto& vcpu : stalled.file->machine().vcpus) options.cpus.push_back(freeze::registers_of(vcpu));
  options.vcpu_perf_unavailable = "counted in a run only";
  const double began = cpu_seconds();
  const auto made = freeze::dump::collect(*kernel, options);
  const double collected = cpu_seconds();
  json_bytes = freeze::dump::to_json(made).size();
  json_ms = (cpu_seconds() - collected) * 1e3;
  if (made.dump_truncated_at_us) return fail("the dump met its deadline");
  return (collected - began) * 1e3;
}

Result<> dump(const Settings& settings, const Guest& stalled, Report& report) {
  const auto known = walkers::Kernel::open(*stalled.flat, stalled.how);
  if (!known) return fail(known.error());
  Contender flat{.name = "flat memory"}, file{.name = "snapshot file"}, json{.name = "written as JSON"};
  std::size_t bytes = 0;
  for (unsigned round = 0; round < rounds_of(settings, 15); ++round) {
    double written = 0;
    const auto quick = dump_ms(*stalled.flat, stalled, *known, written, bytes);
    if (!quick) return fail(quick.error());
    flat.rounds.push_back(*quick);
    json.rounds.push_back(written);
    const auto opened = freeze::SnapshotFile::open(stalled.path);  // without what the round before has decompressed
    if (!opened) return fail(opened.error());
    const auto slow = dump_ms(**opened, stalled, *known, written, bytes);
    if (!slow) return fail(slow.error());
    file.rounds.push_back(*slow);
  }
  json.figures = {{"KiB", static_cast<double>(bytes) / 1024}};
  Row row{.name = "dump of a stalled scheduler", .unit = "ms", .baseline = "flat memory", .contenders = {flat, file, json}, .promises = {}};
  row.promises = {median_at_most(row, "flat memory", 20)};
  report.rows.push_back(std::move(row));
  return {};
}

}  // namespace

// A copy of a kernel has a translation cache of its own; this one has none of the walk before it in it.
Result<walkers::Kernel> afresh(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known) {
  auto how = guest.how;
  how.previous = &known;
  return walkers::Kernel::open(memory, how);
}

Result<TaskTableTimes> task_table_ms(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known) {
  const auto kernel = afresh(memory, guest, known);
  if (!kernel) return fail(kernel.error());
  const auto layout = walkers::scx::Layout::of(*kernel);
  const double began = cpu_seconds();
  const auto table = walkers::tasks(*kernel);
  const double listed = cpu_seconds();
  if (!table) return fail(table.error());
  walkers::WalkBudget budget;
  const auto more = walkers::task_details(*kernel, *table, layout, {}, budget);
  const double ended = cpu_seconds();
  if (!more) return fail(more.error());
  if (!table->complete || more->tasks.size() < table->tasks.size()) return fail("the task table is not whole");
  return TaskTableTimes{(listed - began) * 1e3, (ended - began) * 1e3, more->tasks.size()};
}

Result<> walk_rows(const Settings& settings, const Guest& big, const Guest& stalled, Report& report) {
  if (settings.wants("tasks"))
    if (const auto done = tasks(settings, big, report); !done) return done;
  if (settings.wants("scx.state"))
    if (const auto done = queues(settings, stalled, report); !done) return done;
  return settings.wants("dump of a stalled scheduler") ? dump(settings, stalled, report) : Result<>();
}

}  // namespace floe::bench
