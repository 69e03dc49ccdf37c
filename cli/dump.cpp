// `floe dump MEMORY`: the memory of a kept snapshot, a run, a core or the running kernel, in another form.
#include <fmt/format.h>

#include <chrono>

#include "cli/cli11.hpp"
#include "cli/command.hpp"
#include "cli/json.hpp"
#include "cli/memory_source.hpp"
#include "cli/run_options.hpp"

namespace floe::cli {
namespace {

constexpr auto kOpenLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

struct DumpOptions {
  std::string memory;
  bool kcore = false;
  std::string at;  // "-12s"
  std::string format;
  std::string out;
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

Verdict dump(std::vector<std::string> words) {
  DumpOptions options;
  CLI::App app("Writes the memory of a kernel in another form.", "floe dump");
  auto* const memory = app.add_option("MEMORY", options.memory, "a kept snapshot, a run's folder (its newest snapshot), or an ELF core");
  auto* const kcore = app.add_flag("--kcore", options.kcore, "the running kernel (/proc/kcore; takes root)");
  app.add_option("--at", options.at, "of a run's folder the snapshot so long before the last, as in -12s")->excludes(kcore);
  app.add_option("--format", options.format, "core: a sparse ELF core with VMCOREINFO and registers, for drgn, crash and floe")
      ->required()
      ->check(CLI::IsMember({"core"}));
  app.add_option("-o,--out", options.out, "the file to write; it appears when it is whole");
  memory->excludes(kcore);
  if (const auto ended = parse(app, std::move(words))) return *ended;
  if (options.memory.empty() && !options.kcore) return {Exit::kUsage, "MEMORY is required, or --kcore"};
  if (options.out.empty()) return {Exit::kUsage, "--format core takes --out FILE"};

  const auto source = open_source(options);
  if (!source) return {Exit::kUsage, source.error().message};
  walkers::OpenOptions how;
  how.deadline = std::chrono::steady_clock::now() + kOpenLimit;
  const auto kernel = source->open_kernel(how);
  if (!kernel) fmt::print(stderr, "no VMCOREINFO note: {}\n", printable(kernel.error().message));
  return write_core(*source, kernel ? &*kernel : nullptr, options.out);
}

const bool registered = register_command({"dump", "write a kernel's memory in another form", dump});

}  // namespace
}  // namespace floe::cli
