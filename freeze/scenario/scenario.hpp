// A scenario: what shall happen in a guest, step by step, and what must be true then. Written as JSON (docs/scenario.md has the schema),
// checked whole before anything starts, carried out by run_scenario() (run.hpp) over a ScenarioHost (host.hpp). The same structures are
// the C++ interface.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "freeze/scenario/json.hpp"
#include "vmm/requests.hpp"

namespace floe::freeze::scenario {

struct Program {
  std::vector<std::string> command;      // program and arguments; the program is put into the guest by floe
  std::vector<std::string> environment;  // NAME=value
  std::string cgroup;                    // made by an earlier step, or empty
  std::string cpus;                      // "0-3,5", or empty: all
  int nice = 0;
  bool operator==(const Program&) const = default;
};

// Until sched_ext says it is enabled.
struct StartScheduler {
  Program program;
  bool operator==(const StartScheduler&) const = default;
};
// Takes over a scheduler that is there already, of the run's own --scheduler say: until it is enabled.
struct AttachScheduler {
  std::string ops;  // how its name begins, or empty: any
  bool operator==(const AttachScheduler&) const = default;
};
// Stops the scheduler, until sched_ext says it is disabled, and starts another one, until it is enabled.
struct ReplaceScheduler {
  Program program;
  bool operator==(const ReplaceScheduler&) const = default;
};
struct StopScheduler {
  bool operator==(const StopScheduler&) const = default;
};

struct Workers {
  enum class Kind { kSpin, kSleepWake, kYield, kPipePingPong, kForkStorm };
  static constexpr unsigned kMaxCount = 4096;
  static constexpr std::size_t kMaxName = 15;  // they call themselves by it: TASK_COMM_LEN

  std::string name;
  Kind kind = Kind::kSpin;
  unsigned count = 1;
  std::chrono::nanoseconds period{0};  // of sleep-wake and of fork-storm; 0: its default
  std::string cgroup;
  std::string cpus;
  int nice = 0;
  bool operator==(const Workers&) const = default;
};
struct Spawn {
  std::vector<Workers> workers;
  bool operator==(const Spawn&) const = default;
};
// A program beside the scheduler; wait for its end or stop it by its name.
struct RunProgram {
  std::string name;
  Program program;
  bool operator==(const RunProgram&) const = default;
};
// Workers or a program: SIGTERM, SIGKILL after two seconds, until it has ended.
struct StopProcess {
  std::string name;
  bool operator==(const StopProcess&) const = default;
};

struct MakeCgroup {
  std::string path;  // below the guest's cgroup root: "a/b"
  // Files of the group and what is written to them, in this order: cpu.weight, cpuset.cpus, cpuset.mems, then the others.
  std::vector<std::pair<std::string, std::string>> files;
  bool operator==(const MakeCgroup&) const = default;
};
struct RemoveCgroup {
  std::string path;
  bool operator==(const RemoveCgroup&) const = default;
};

struct WaitTime {
  std::chrono::nanoseconds time{0};
  bool operator==(const WaitTime&) const = default;
};
struct WaitProcess {
  std::string name;
  bool operator==(const WaitProcess&) const = default;
};

struct Capture {
  std::string name;
  bool operator==(const Capture&) const = default;
};
struct Watch {
  std::string symbol;
  bool operator==(const Watch&) const = default;
};
struct KernelOp {
  vmm::wire::KernelOpRequest request;  // its id is the host's business
  std::string name;                    // of the value read
  std::string task;                    // whose number and start time are found when the step begins; empty: they are known
  bool operator==(const KernelOp&) const = default;
};
struct CaptureProcs {
  std::string name;
  std::string cgroup;  // empty: the root
  bool operator==(const CaptureProcs&) const = default;
};

// One side of an assertion.
struct Constant {
  std::string text;
  bool operator==(const Constant&) const = default;
};
struct OfRead {  // the value of an earlier read: a number, or bytes as "ab cd"
  std::string name;
  bool operator==(const OfRead&) const = default;
};
struct OfReport {  // of a captured report: freeze/dump/path.hpp
  std::string capture;
  std::string path;
  bool operator==(const OfReport&) const = default;
};
struct OfProcess {  // "exited 0", "killed 9", "not started 2": of one that an earlier step waited for or stopped
  std::string name;
  bool operator==(const OfProcess&) const = default;
};
struct OfProcs {  // the numbers of an earlier capture of cgroup.procs, "12 13"; or how many they are
  std::string name;
  bool count = false;
  bool operator==(const OfProcs&) const = default;
};
using Operand = std::variant<Constant, OfRead, OfReport, OfProcess, OfProcs>;

struct Assert {
  enum class Relation { kEqual, kNotEqual, kLess, kAtMost, kMore, kAtLeast, kContains };
  Operand left;
  Relation relation = Relation::kEqual;
  Operand right;
  bool operator==(const Assert&) const = default;
};

using Action = std::variant<StartScheduler, AttachScheduler, ReplaceScheduler, StopScheduler, Spawn, RunProgram, StopProcess, MakeCgroup,
                            RemoveCgroup, WaitTime, WaitProcess, Capture, Watch, KernelOp, CaptureProcs, Assert>;

struct Step {
  Action action;
  std::chrono::nanoseconds deadline = std::chrono::seconds(30);
  Place place;  // in the file
  bool operator==(const Step&) const = default;
};

struct Scenario {
  static constexpr std::size_t kMaxSteps = 10'000;

  std::string file;  // for messages
  std::vector<Step> steps;
};

// The word of its "do": "capture".
std::string_view name_of(const Action& action);
std::string_view name_of(Workers::Kind kind);
std::string_view name_of(Assert::Relation relation);
// Every program that a step starts, each once: what must be in the guest.
std::vector<std::string> programs_of(const Scenario& scenario);

// The whole scenario or the first thing that is wrong: "FILE:LINE:COLUMN: steps[3].kind: ...", with what is allowed there. `file` is for
// messages alone. What a step names (a capture, a process) must be made by an earlier one.
Result<Scenario> parse_scenario(std::string_view text, const std::string& file);
Result<Scenario> read_scenario(const std::string& path);

}  // namespace floe::freeze::scenario
