// What `floe run` was asked to do: the flags, as one plain value, checked for what can be checked without touching the host.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/duration.hpp"
#include "base/result.hpp"
#include "cli/flags.hpp"

namespace floe::cli {

enum class HostMode { kAuto, kKvm, kTcg };

// Set by a floe outside on the floe it starts inside the outer machine; not for users.
struct InsideOptions {
  std::string initrd;     // packed already: used as it is
  std::string kernel;     // its path outside
  std::string scheduler;  // the scheduler's executable; empty: none
  std::string scenario;   // its path outside
  unsigned retries = 0;   // outer machines that died before this one
};

struct RunOptions {
  std::string scenario;  // a file, or none
  std::string kernel;
  std::string initrd;
  std::string append;
  std::vector<std::string> add;
  std::vector<std::string> scheduler;  // BIN ARGS...
  std::vector<std::string> command;    // after --
  unsigned cpus = 2;
  std::uint64_t memory_mib = 512;
  std::chrono::nanoseconds duration = std::chrono::seconds(30);
  bool duration_given = false;  // else a scenario lasts as long as it takes
  std::chrono::nanoseconds boot_timeout = std::chrono::seconds(60);
  std::string latch;  // MAP:VARIABLE[:AT_LEAST], or none
  double snapshot_hz = 1;
  unsigned periodic = 0;  // captures spread over the duration
  unsigned ring_depth = 60;
  std::uint64_t ring_bytes = 0;  // 0: half the guest's memory, at least 256 MiB
  bool keep_snapshots = false;
  std::chrono::nanoseconds dump_deadline = std::chrono::seconds(10);  // of each snapshot's walk and of each dump; 0: none
  std::string out;
  HostMode host = HostMode::kAuto;
  std::chrono::nanoseconds outer_silence =
      std::chrono::seconds(120);  // of --host tcg: for how long nothing may come from the outer machine
  bool json = false;
  bool quiet = false;
  bool progress = false;   // stderr is a terminal
  unsigned deaf_port = 0;  // for tests: DeafPort; 0: none

  std::uint64_t memory_bytes() const { return memory_mib << 20; }
  std::uint64_t effective_ring_bytes() const;

  std::optional<InsideOptions> inside;
};

// Adds the flags of `run`; parsing fills `options`.
void add_run_flags(Flags& flags, RunOptions& options);

// `--scheduler BIN [ARGS...]` ends at the next flag of `run` or at `--`; everything behind `--` is COMMAND. Cuts both out of `args`
// (the words after `floe run`), which a flag parser can then take.
Result<> split_words(std::vector<std::string>& args, RunOptions& options);

// What does not depend on the host: ranges and contradictions. The error names the flag.
Result<> check(const RunOptions& options);

}  // namespace floe::cli
