#include "cli/run_options.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "freeze/latch_name.hpp"
#include "freeze/periodic.hpp"

namespace floe::cli {
namespace {

using std::chrono::nanoseconds;

constexpr std::uint64_t kMiB = 1 << 20;

void add_duration(Flags& flags, const std::string& flag, nanoseconds& value, const std::string& text) {
  const auto read = [&value](const std::string& given) -> Result<> {
    const auto parsed = parse_duration(given);
    if (!parsed) return fail(parsed.error());
    value = *parsed;
    return {};
  };
  flags.add_read(flag, read, text).value_name("TIME").shows_default(format_duration(value));
}

// Numbers with an optional K, M or G (powers of 1024).
void add_bytes(Flags& flags, const std::string& flag, std::uint64_t& value, const std::string& text) {
  const auto read = [&value](const std::string& given) -> Result<> {
    char* end = nullptr;
    const double number = std::strtod(given.c_str(), &end);
    const std::string_view unit = end;
    const double scale = unit.empty()                   ? 1
                         : unit == "K" || unit == "KiB" ? 1024.0
                         : unit == "M" || unit == "MiB" ? 1048576.0
                         : unit == "G" || unit == "GiB" ? 1073741824.0
                                                        : 0;
    if (end == given.c_str() || scale == 0 || number < 0 || !std::isfinite(number) || number * scale > 1e15)
      return fail("'" + given + "' is no size: write bytes, or a number with K, M or G");
    value = static_cast<std::uint64_t>(number * scale);
    return {};
  };
  flags.add_read(flag, read, text).value_name("BYTES");
}

constexpr std::string_view kFlags[] = {"--kernel",
                                       "--initrd",
                                       "--append",
                                       "--add",
                                       "--scheduler",
                                       "--cpus",
                                       "--memory",
                                       "--duration",
                                       "--boot-timeout",
                                       "--snapshot-hz",
                                       "--latch",
                                       "--periodic",
                                       "--ring-depth",
                                       "--ring-bytes",
                                       "--keep-snapshots",
                                       "--dump-deadline",
                                       "--out",
                                       "--host",
                                       "--outer-silence",
                                       "--json",
                                       "--quiet",
                                       "--help",
                                       "-h",
                                       "-q",
                                       "--inside-initrd",
                                       "--inside-kernel",
                                       "--inside-progress",
                                       "--inside-retries",
                                       "--inside-scenario",
                                       "--inside-scheduler",
                                       "--test-deaf-port"};

bool is_flag(std::string_view word) {
  const auto name = word.substr(0, word.find('='));
  return std::find(std::begin(kFlags), std::end(kFlags), name) != std::end(kFlags);
}

}  // namespace

std::uint64_t RunOptions::effective_ring_bytes() const {
  return ring_bytes ? ring_bytes : std::max<std::uint64_t>(256 * kMiB, memory_bytes() / 2);
}

void add_run_flags(Flags& flags, RunOptions& options) {
  flags.add("SCENARIO", options.scenario, "a JSON file of what shall happen in the guest, step by step (docs/scenario.md)");
  flags
      .add("--kernel", options.kernel,
           "bzImage, or ELF vmlinux with a PVH note (default: FLOE_KERNEL, the newest in FLOE_KERNEL_CACHE, the fetched one)")
      .value_name("FILE");
  flags.add("--initrd", options.initrd, "initramfs to start from; floe's own init and the programs below are put over it")
      .value_name("FILE");
  flags.add("--append", options.append, "more words for the kernel command line").value_name("ARGS");
  flags.add("--add", options.add, "put a file or a folder into the guest, at the same path; may be repeated")
      .value_name("PATH")
      .repeatable();
  flags
      .add_told("--scheduler",
                "a sched_ext scheduler and its arguments, up to the next flag of floe (FLOE_SCHEDULER: words split at blanks)")
      .value_name("BIN [ARGS...]");
  flags.add("--cpus", options.cpus, "vCPUs").shows_default();
  flags.add("--memory", options.memory_mib, "guest RAM in MiB").value_name("MiB").shows_default();
  add_duration(flags, "--duration", options.duration, "how long to run, counted from the guest's hello");
  add_duration(flags, "--boot-timeout", options.boot_timeout, "how long to wait for that hello");
  flags.add("--snapshot-hz", options.snapshot_hz, "snapshots a second, 0 for none").value_name("HZ").shows_default();
  flags
      .add("--latch", options.latch,
           "a 32-bit variable of a BPF program (map probe_bp.bss, variable error) that tells of the scheduler's failure when it is "
           "AT_LEAST (1): a snapshot at once, the failure dump, and the run's end")
      .value_name("MAP:VARIABLE[:AT_LEAST]");
  flags.add("--periodic", options.periodic, "reports of this many snapshots, run.snapshot.periodic_000.json and on, spread over --duration")
      .value_name("N")
      .shows_default();
  flags.add("--ring-depth", options.ring_depth, "snapshots kept in memory").shows_default();
  add_bytes(flags, "--ring-bytes", options.ring_bytes, "bound of the ring's memory (default: half the guest's, at least 256M)");
  flags.add("--keep-snapshots", options.keep_snapshots, "write the ring to OUT/snapshots also when the run passes");
  add_duration(flags, "--dump-deadline", options.dump_deadline,
               "how long reading one snapshot, or making the failure dump of one, may take; 0: no limit");
  flags.add("--out", options.out, "the run's folder; must not exist or be empty (default: run/DATE-TIME)").value_name("DIR");
  const auto read_mode = [&options](const std::string& mode) -> Result<> {
    options.host = mode == "kvm" ? HostMode::kKvm : mode == "tcg" ? HostMode::kTcg : HostMode::kAuto;
    return {};
  };
  flags
      .add_read("--host", read_mode,
                "kvm: this machine's /dev/kvm; tcg: inside a QEMU machine with an emulated CPU; auto: kvm when it works")
      .one_of({"auto", "kvm", "tcg"})
      .shows_default("auto");
  add_duration(flags, "--outer-silence", options.outer_silence,
               "with --host tcg: the run ends (8) when the emulated machine says nothing at all for so long; 0: no limit");
  flags.add("--json", options.json, "print the manifest on stdout; COMMAND's output goes to OUT/workload.log only");
  flags.add("-q,--quiet", options.quiet, "no progress");
  flags.add_environment("--scheduler");

  const auto inside = [&options]() -> InsideOptions& {
    if (!options.inside) options.inside = InsideOptions();
    return *options.inside;
  };
  const auto into = [inside](std::string InsideOptions::* member) {
    return [inside, member](const std::string& path) -> Result<> {
      inside().*member = path;
      return {};
    };
  };
  const auto read_retries = [inside](const std::string& number) -> Result<> {
    inside().retries = static_cast<unsigned>(std::strtoul(number.c_str(), nullptr, 10));
    return {};
  };
  flags.add_read("--inside-initrd", into(&InsideOptions::initrd)).hidden();
  flags.add_read("--inside-kernel", into(&InsideOptions::kernel)).hidden();
  flags.add_read("--inside-scheduler", into(&InsideOptions::scheduler)).hidden();
  flags.add_read("--inside-scenario", into(&InsideOptions::scenario)).hidden();
  flags.add_read("--inside-retries", read_retries).hidden();
  flags.add("--inside-progress", options.progress).hidden();
  flags.add("--test-deaf-port", options.deaf_port).between(0, 0xffff).hidden();
}

Result<> split_words(std::vector<std::string>& args, RunOptions& options) {
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") {
      options.command.assign(args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      if (options.command.empty()) return fail("-- without a COMMAND behind it");
      break;
    }
    const bool attached = args[i].rfind("--scheduler=", 0) == 0;
    if (args[i] != "--scheduler" && !attached) {
      rest.push_back(args[i]);
      continue;
    }
    if (attached) options.scheduler.push_back(args[i].substr(12));
    while (i + 1 < args.size() && args[i + 1] != "--" && !is_flag(args[i + 1])) options.scheduler.push_back(args[++i]);
    if (options.scheduler.empty()) return fail("--scheduler without a program");
  }
  args = std::move(rest);
  const char* given = std::getenv("FLOE_SCHEDULER");
  if (options.scheduler.empty() && given) {
    std::istringstream words(given);
    for (std::string word; words >> word;) options.scheduler.push_back(word);
  }
  return {};
}

Result<> check(const RunOptions& options) {
  if (options.cpus == 0 || options.cpus > 254) return fail(fmt::format("--cpus {}: 1 to 254 are possible", options.cpus));
  if (options.memory_mib < 64 || options.memory_mib > (1u << 20))
    return fail(fmt::format("--memory {}: 64 to 1048576 MiB are possible", options.memory_mib));
  if (!(options.snapshot_hz >= 0 && options.snapshot_hz <= 1000))
    return fail(fmt::format("--snapshot-hz {}: 0 to 1000 are possible", options.snapshot_hz));
  if (options.ring_depth == 0 || options.ring_depth > 1'000'000)
    return fail(fmt::format("--ring-depth {}: 1 to 1000000 are possible", options.ring_depth));
  if (options.ring_bytes && options.ring_bytes < kMiB)
    return fail(fmt::format("--ring-bytes {}: at least 1M is needed", options.ring_bytes));
  if (options.duration.count() == 0) return fail("--duration 0: give a time above zero");
  if (!options.latch.empty())
    if (const auto latch = freeze::parse_latch(options.latch); !latch) return fail("--latch: " + latch.error().message);
  if (options.periodic != 0 && !options.scenario.empty() && !options.duration_given)
    return fail("--periodic with a scenario needs --duration: its snapshots are spread over that time");
  if (const auto periodic = freeze::check_periodic(options.periodic, options.duration); !periodic)
    return fail("--periodic: " + periodic.error().message);
  if (options.boot_timeout.count() == 0) return fail("--boot-timeout 0: give a time above zero");
  return {};
}

}  // namespace floe::cli
