// floe_sched: runs one of floe's test schedulers until it ends, SIGTERM, or --seconds are over, and prints how it ended.
//
//   floe_sched fair
//   floe_sched maps [--seed N] [--report-ms N]  reports, every N ms, what its task storage holds (maps_side.hpp)
//   floe_sched stall [--prefix stallme]
//   floe_sched error [--prefix errorme]
//   all: [--seconds N] [--timeout-ms N]         the watchdog's; the kernel's default is 30 s
//        [--linger N]                           stays N seconds after a SIGTERM, for the kernel to throw it out first
//
// Exit codes: 0 ended well, also when stopped; 1 the scheduler could not be loaded or ended in the error class; 2 usage.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bpf/schedulers/loader.hpp"
#include "bpf/schedulers/maps_side.hpp"

namespace {

using floe::schedulers::Scheduler;

struct Options {
  std::string scheduler;
  std::string prefix;
  std::uint64_t seed = 1;
  std::uint32_t timeout_ms = 0;  // the kernel's default
  long report_ms = 0;
  double seconds = 0;
  double linger = 0;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(
      stderr,
      "floe_sched: %s\nusage: floe_sched fair|maps|stall|error [--seed N] [--report-ms N] [--prefix NAME] [--timeout-ms N] [--seconds N] "
      "[--linger N]\n",
      what.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  if (argc < 2) usage("no scheduler named");
  options.scheduler = argv[1];
  if (floe::schedulers::object_named(options.scheduler).empty()) usage("no scheduler '" + options.scheduler + "'");
  for (int i = 2; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) usage(flag + " wants a value");
    const char* value = argv[i + 1];
    char* end = nullptr;
    if (flag == "--prefix") {
      options.prefix = value;
      continue;
    }
    if (flag == "--seed")
      options.seed = std::strtoull(value, &end, 0);
    else if (flag == "--timeout-ms")
      options.timeout_ms = static_cast<std::uint32_t>(std::strtoul(value, &end, 0));
    else if (flag == "--report-ms")
      options.report_ms = std::strtol(value, &end, 0);
    else if (flag == "--seconds")
      options.seconds = std::strtod(value, &end);
    else if (flag == "--linger")
      options.linger = std::strtod(value, &end);
    else
      usage("unknown flag " + flag);
    if (end == value || *end != 0) usage(flag + " " + value + " is no number");
  }
  if (options.prefix.size() > 15) usage("a task's name has at most 15 letters");
  return options;
}

void set_prefix(Scheduler& scheduler, const Options& options) {
  if (options.prefix.empty()) return;
  auto* const prefix = static_cast<char*>(scheduler.variable(".rodata", options.scheduler + "_prefix", 16));
  std::memset(prefix, 0, 16);
  std::memcpy(prefix, options.prefix.data(), options.prefix.size());
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  floe::schedulers::stop_on_signals();
  Scheduler scheduler(options.scheduler);
  const bool maps = options.scheduler == "maps";
  if (options.scheduler == "stall" || options.scheduler == "error") set_prefix(scheduler, options);
  if (options.timeout_ms != 0) scheduler.set_ops("timeout_ms", options.timeout_ms);
  if (maps) floe::schedulers::prepare_maps(scheduler, options.seed);
  scheduler.load();
  if (maps) floe::schedulers::fill_maps(scheduler, options.seed);
  scheduler.attach();
  scheduler.linger(options.linger);
  floe::schedulers::TaskReports reports(scheduler);
  return maps ? scheduler.wait(options.seconds, options.report_ms, [&reports] { reports.print(); }) : scheduler.wait(options.seconds);
}
