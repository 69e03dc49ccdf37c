// What floe and its guest ask each other over the wire (vmm/wire.hpp): each request has an id and gets exactly one answer with that id.
//
// Guest to host, from any program in the guest through init's socket:
//   SNRQ -> SNRP   take a snapshot under a name, or watch a symbol: fixed layouts, 72 and 520 bytes
//   KORQ -> KORP   read or write kernel memory
// Host to guest, what a scenario needs done there by init:
//   CTRQ -> CTRP   start or signal a process, make, remove, write, read or await a small file
//   PEND           a process that CTRQ started has ended: sent once for each that was started
//
// Decoding is strict: nothing comes back for a payload with a field out of its bounds, with bytes missing or left over. Encoding a
// request names what is out of bounds; answers are cut, or become a refusal, so that one always goes out. Ids are never 0.
//
// Depends on base/ and the wire alone: the static program inside the guest uses this file too.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm::wire {

inline constexpr std::uint32_t kControlRequest = tag("CTRQ");
inline constexpr std::uint32_t kControlReply = tag("CTRP");
inline constexpr std::uint32_t kProcessEnd = tag("PEND");
// From a program to init, empty: opens the port to the host anew. Answered like a snapshot request.
inline constexpr std::uint32_t kReopen = tag("REOP");

// A program in the guest waits so long for an answer, and what is silent for longer is a dead port. floe has answered before, also when
// what was asked for is not done by then, and when a vCPU that does not park holds floe up for 10 s more.
inline constexpr std::chrono::seconds kAnswerAwaited{30}, kAnswerGiven{15};

// `text` without a tail that would be longer than `most` bytes, never cut inside of a character.
std::string_view cut_text(std::string_view text, std::size_t most);
// The next id of a counter: 1, 2, ... and 1 again behind the last, never 0.
constexpr std::uint32_t next_id(std::uint32_t& counter) {
  if (++counter == 0) ++counter;
  return counter;
}

// --- Snapshots

//   0  u32 id    4  u32 kind    8  tag, 64 bytes, padded with NUL
struct SnapshotRequest {
  static constexpr std::size_t kBytes = 72;
  static constexpr std::size_t kMaxTag = 64;
  static constexpr std::uint32_t kCapture = 1, kWatch = 2;

  std::uint32_t id = 0;
  std::uint32_t kind = kCapture;  // another one is decoded too (but never 0), so that it can be answered
  std::string tag;                // name of the snapshot, or the symbol to watch
  bool operator==(const SnapshotRequest&) const = default;
};

//   0  u32 id    4  u32 status    8  reason, 512 bytes, padded with NUL
struct SnapshotReply {
  static constexpr std::size_t kBytes = 520;
  static constexpr std::size_t kMaxReason = 512;
  static constexpr std::uint32_t kOk = 1, kError = 2;
  static constexpr std::uint32_t kNoAnswer = 3;  // from init alone, to the program that asked: the host did not say a thing

  std::uint32_t id = 0;
  std::uint32_t status = kOk;
  std::string reason;  // of an error
  bool operator==(const SnapshotReply&) const = default;
};

// A tag ends at its first NUL or its last byte; what is no UTF-8 in it decodes as U+FFFD.
Result<std::vector<std::byte>> encode(const SnapshotRequest& request);
std::optional<SnapshotRequest> decode_snapshot_request(std::span<const std::byte> payload);
std::vector<std::byte> encode(const SnapshotReply& reply);
std::optional<SnapshotReply> decode_snapshot_reply(std::span<const std::byte> payload);

// --- Kernel memory

// A kernel variable, by its symbol.
struct SymbolTarget {
  std::string name;
  bool operator==(const SymbolTarget&) const = default;
};
// An address in the kernel's direct map of RAM.
struct DirectTarget {
  std::uint64_t address = 0;
  bool operator==(const DirectTarget&) const = default;
};
// Any kernel address, through its page tables.
struct KvaTarget {
  std::uint64_t address = 0;
  bool operator==(const KvaTarget&) const = default;
};
// A field of a per-CPU variable (`runqueues`, `scx.flags`).
struct PerCpuTarget {
  std::string symbol;
  std::string field;
  std::uint32_t cpu = 0;
  bool operator==(const PerCpuTarget&) const = default;
};
// A field of one task's task_struct. The start time tells it from a later task with the same number.
struct TaskTarget {
  std::int32_t pid = 0;
  std::uint64_t start_time_ns = 0;
  std::string field;
  bool operator==(const TaskTarget&) const = default;
};
using KernelTarget = std::variant<SymbolTarget, DirectTarget, KvaTarget, PerCpuTarget, TaskTarget>;

// Sets the bits of the mask in a 32-bit word; for writes only.
struct OrU32 {
  std::uint32_t mask = 0;
  bool operator==(const OrU32&) const = default;
};
using KernelValue = std::variant<std::uint32_t, std::uint64_t, std::vector<std::byte>, OrU32>;

struct KernelOpEntry {
  KernelTarget target;
  KernelValue value;  // to be written; of a read it says the width alone
  bool operator==(const KernelOpEntry&) const = default;
};

struct KernelOpRequest {
  static constexpr std::size_t kMaxTag = 256;
  static constexpr std::size_t kMaxName = 512;  // of a symbol (KSYM_NAME_LEN) or a path of fields
  static constexpr std::size_t kMaxEntries = 1024;
  static constexpr std::size_t kMaxValue = 64U << 10;  // bytes of one value
  static constexpr std::size_t kMaxPayload = 1U << 20;
  enum class Mode : std::uint8_t { kHot = 0, kCold = 1 };  // while the guest runs, or frozen
  enum class Direction : std::uint8_t { kWrite = 0, kRead = 1 };

  std::uint32_t id = 0;
  Mode mode = Mode::kHot;
  Direction direction = Direction::kRead;
  std::string tag;
  std::vector<KernelOpEntry> entries;
  bool operator==(const KernelOpRequest&) const = default;
};

struct KernelOpReply {
  static constexpr std::size_t kMaxReason = 256;
  static constexpr std::size_t kMaxPayload = 1U << 20;

  std::uint32_t id = 0;
  bool success = true;
  std::string reason;               // of a failure
  std::vector<KernelValue> values;  // of a read, one for each entry
  bool operator==(const KernelOpReply&) const = default;
};

Result<std::vector<std::byte>> encode(const KernelOpRequest& request);
std::optional<KernelOpRequest> decode_kernel_op_request(std::span<const std::byte> payload);
// A reply whose values are too long for the wire goes out as a failure that says so.
std::vector<std::byte> encode(const KernelOpReply& reply);
std::optional<KernelOpReply> decode_kernel_op_reply(std::span<const std::byte> payload);

// --- What init does for a scenario

// Numbers of processes that no CTRQ started: the scheduler and the command of the run. Their ends are told by SCDX and WRES, not by PEND.
inline constexpr std::uint32_t kRunScheduler = 1, kRunCommand = 2;
inline constexpr std::uint32_t kFirstProcess = 16;  // of those that CTRQ starts

struct StartProcess {
  enum class Role : std::uint8_t { kScheduler = 1, kWorkload = 2 };  // whose output it is

  std::uint32_t process = 0;  // the host's number for it, from kFirstProcess on: of no other process while this one's end is not told
  Role role = Role::kWorkload;
  std::vector<std::string> argv;         // argv[0] is searched in PATH when it has no slash
  std::vector<std::string> environment;  // NAME=value, over those of the run
  std::string cgroup;                    // below /sys/fs/cgroup, as "a/b"; must be there. Empty: init's
  std::string cpus;                      // "0-3,5", or empty: all
  std::int8_t nice = 0;                  // -20 to 19
  bool operator==(const StartProcess&) const = default;
};
// To the process's group: everything it started that made no group of its own.
struct SignalProcess {
  std::uint32_t process = 0;
  std::uint8_t signal = 0;
  bool operator==(const SignalProcess&) const = default;
};
// Absolute paths all. A folder is made with those above it; one that is there already is no error, nor is one to remove that is not.
struct MakeFolder {
  std::string path;
  bool operator==(const MakeFolder&) const = default;
};
struct RemoveFolder {
  std::string path;
  bool operator==(const RemoveFolder&) const = default;
};
// One write(2) of all bytes, as kernel files want it. A file that is not there is made; one that is, is not cut.
struct WriteFile {
  std::string path;
  std::vector<std::byte> data;
  bool operator==(const WriteFile&) const = default;
};
// Answered with the file's first `limit` bytes.
struct ReadFile {
  std::string path;
  std::uint32_t limit = 4096;
  bool operator==(const ReadFile&) const = default;
};
// Answered with the file's content once it begins with `prefix`, or with an error (ETIMEDOUT) that quotes what it held last.
struct AwaitFile {
  std::string path;
  std::string prefix;
  std::uint32_t timeout_ms = 0;
  bool operator==(const AwaitFile&) const = default;
};
using ControlAction = std::variant<StartProcess, SignalProcess, MakeFolder, RemoveFolder, WriteFile, ReadFile, AwaitFile>;

struct ControlRequest {
  static constexpr std::size_t kMaxPayload = 64U << 10;
  static constexpr std::size_t kMaxWords = 1024;  // of argv and of environment
  static constexpr std::size_t kMaxPath = 4095;   // PATH_MAX
  static constexpr std::size_t kMaxCpus = 1024;   // characters of a CPU list
  static constexpr std::size_t kMaxPrefix = 256;
  static constexpr std::uint32_t kMaxRead = 1U << 20;
  static constexpr std::uint32_t kMaxTimeoutMs = 3'600'000;

  std::uint32_t id = 0;
  ControlAction action;
  bool operator==(const ControlRequest&) const = default;
};

struct ControlReply {
  static constexpr std::size_t kMaxReason = 512;

  std::uint32_t id = 0;
  std::int32_t error = 0;       // errno, 0 when it was done
  std::string reason;           // of an error
  std::uint32_t pid = 0;        // of a process that was started, in the guest's numbers
  std::vector<std::byte> data;  // of a file that was read
  bool operator==(const ControlReply&) const = default;
};

struct ProcessEnd {
  std::uint32_t process = 0;
  Outcome outcome;
  bool operator==(const ProcessEnd&) const = default;
};

Result<std::vector<std::byte>> encode(const ControlRequest& request);
std::optional<ControlRequest> decode_control_request(std::span<const std::byte> payload);
std::vector<std::byte> encode(const ControlReply& reply);
std::optional<ControlReply> decode_control_reply(std::span<const std::byte> payload);
std::vector<std::byte> encode(const ProcessEnd& end);
std::optional<ProcessEnd> decode_process_end(std::span<const std::byte> payload);

// Whether this is a path like a/b: it stays below the root of the cgroups. The root itself is "".
bool is_cgroup_path(std::string_view path);
// Whether `list` is a list of CPUs as the kernel writes them ("0-3,5"); the numbers in ascending order. At most CPU 4095.
std::optional<std::vector<std::uint32_t>> parse_cpu_list(std::string_view list);

}  // namespace floe::vmm::wire
