// `floe dump MEMORY`: what a kept snapshot, a run, a core or the running kernel says, as a failure dump; or its memory as a core.
#include <fmt/format.h>

#include <chrono>

#include "base/atomic_file.hpp"
#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/dump_map.hpp"
#include "cli/flags.hpp"
#include "cli/json.hpp"
#include "cli/memory_source.hpp"
#include "cli/report_of.hpp"
#include "cli/run_options.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/dump/text_report.hpp"

namespace floe::cli {
namespace {

constexpr auto kOpenLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

struct DumpOptions {
  std::string memory;
  bool kcore = false;
  std::string at;  // "-12s"
  std::string format = "json";
  std::string out;
  std::string deadline;
  std::string map;
  ReportOptions report;
};

Result<MemorySource> open_source(const DumpOptions& options) {
  if (options.kcore) return MemorySource::kcore();
  if (options.at.empty()) return MemorySource::open(options.memory);
  const auto before =
      options.at.starts_with('-') ? parse_duration(options.at.substr(1)) : Result<std::chrono::nanoseconds>(fail("no sign"));
  if (!before) return fail(fmt::format("--at {}: expected how long before the last snapshot, as in -12s", options.at));
  return MemorySource::open(options.memory, *before);
}

// The core goes without VMCOREINFO where no kernel is found, which is told: its readers will have to search.
Verdict write_core(const MemorySource& source, const walkers::Kernel* kernel, const std::string& out) {
  const auto written = source.write_core(out, kernel);
  if (!written) return {Exit::kUsage, written.error().message};
  fmt::print(stderr, "{}: {} as a core of {} segments, {:.1f} MiB\n", out, source.description(), written->segments,
             static_cast<double>(written->file_bytes) / 1048576);
  if (written->absent_bytes != 0) fmt::print(stderr, "{} KiB of RAM could not be read and are not in it\n", written->absent_bytes >> 10);
  for (const std::string& problem : source.problems()) fmt::print(stderr, "{}\n", printable(problem));
  return {};
}

Verdict write_report(const MemorySource& source, const DumpOptions& options) {
  const auto report = report_of(source, options.report);
  if (!report) return {Exit::kUsage, report.error().message};
  const std::string text = options.format == "text" ? freeze::dump::to_text(*report) : freeze::dump::to_json(*report);
  if (options.out.empty()) {
    fmt::print("{}\n", text);
  } else if (const auto written = write_file(options.out, as_bytes(text + "\n")); !written) {
    return {Exit::kUsage, written.error().message};
  }
  if (report->dump_truncated_at_us)
    fmt::print(stderr, "not complete: the deadline of {} s was over; --deadline 0 has none\n",
               std::chrono::duration_cast<std::chrono::seconds>(options.report.deadline).count());
  if (source.damaged()) return {Exit::kUsage, source.path() + ": damaged: " + source.problems().back()};
  return {};
}

Verdict dump(std::vector<std::string> words) {
  DumpOptions options;
  Flags flags("Writes what a memory says of its kernel as a failure dump, or the memory itself as a core.", "floe dump");
  const Flag memory = flags.add("MEMORY", options.memory, "a kept snapshot, a run's folder (its newest snapshot), or an ELF core");
  const Flag kcore = flags.add("--kcore", options.kcore, "the running kernel (/proc/kcore; takes root)");
  flags.add("--at", options.at, "of a run's folder the snapshot so long before the last, as in -12s").excludes(kcore);
  flags
      .add("--format", options.format,
           "json: the failure dump (the default); text: the same to read; core: a sparse ELF core with VMCOREINFO and registers, for drgn, "
           "crash and floe")
      .one_of({"json", "text", "core"});
  flags.add("-o,--out", options.out, "the file to write; it appears when it is whole (json, text: stdout)");
  flags.add("--max-entries", options.report.max_entries, "of each list instead of its own limit; 0: all there are");
  flags.add("--deadline", options.deadline, "leave out what is not found by then (10s; 0: none)");
  flags
      .add("--scheduler", options.report.scheduler,
           "the executable of the scheduler that ran there: pointers that its programs keep in integers are found by its instructions")
      .value_name("BIN");
  flags.add("--map", options.map, "instead: all elements of this BPF map (its name or id), as JSON, however many there are");
  memory.excludes(kcore);
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  if (options.memory.empty() && !options.kcore) return {Exit::kUsage, "MEMORY is required, or --kcore"};
  if (options.format == "core" && options.out.empty()) return {Exit::kUsage, "--format core takes --out FILE"};
  if (options.format == "core" && !options.report.scheduler.empty()) return {Exit::kUsage, "--format core takes no --scheduler"};
  if (!options.map.empty() && (options.format != "json" || !options.report.scheduler.empty() || options.report.max_entries))
    return {Exit::kUsage, "--map takes no --format, --scheduler or --max-entries"};
  if (!options.deadline.empty()) {
    const auto deadline = options.deadline == "0" ? Result<std::chrono::nanoseconds>(0) : parse_duration(options.deadline);
    if (!deadline) return {Exit::kUsage, "--deadline: " + deadline.error().message};
    options.report.deadline = *deadline;
  }

  const auto source = open_source(options);
  if (!source) return {Exit::kUsage, source.error().message};
  if (!options.map.empty()) return write_map(*source, options.map, options.out, options.report.deadline);
  if (options.format != "core") return write_report(*source, options);
  walkers::OpenOptions how;
  how.deadline = std::chrono::steady_clock::now() + kOpenLimit;
  const auto kernel = source->open_kernel(how);
  if (!kernel) fmt::print(stderr, "no VMCOREINFO note: {}\n", printable(kernel.error().message));
  return write_core(*source, kernel ? &*kernel : nullptr, options.out);
}

const bool registered = register_command({"dump", "write a failure dump, or a core, of any memory", dump});

}  // namespace
}  // namespace floe::cli
