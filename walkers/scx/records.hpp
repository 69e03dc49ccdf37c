// What the walkers of sched_ext find, in the shapes and under the names of the dump's JSON. A value that the kernel does not have, or
// that was unreadable, is absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace floe::walkers::scx {

// struct scx_rq of one CPU.
struct RqState {
  std::uint32_t cpu = 0;
  std::uint32_t nr_running = 0;
  std::uint32_t flags = 0;
  bool cpu_released = false;
  std::optional<std::uint64_t> ops_qseq;  // per task instead in 7.x
  std::optional<std::uint64_t> kick_sync;
  std::optional<std::uint32_t> nr_immed;
  std::optional<std::uint64_t> rq_clock;
  std::optional<std::int32_t> curr_pid;
  std::optional<std::string> curr_comm;
  std::vector<std::uint64_t> runnable_task_kvas;
  bool runnable_truncated = false;
  // floe's own keys
  bool lock_held = false;              // rq.__lock was taken at this instant: what it protects may be half-way through an update
  std::optional<std::string> problem;  // why the runnable list, or more, is not whole
};

// A task on a DSQ or a runnable list, as floe shows it beside the bare KVAs.
struct QueuedTask {
  std::uint64_t kva = 0;
  std::int32_t pid = 0;
  std::string comm;
  std::optional<std::uint64_t> runnable_age_jiffies;  // jiffies - runnable_at
  std::uint32_t weight = 0;
  std::uint64_t dsq_vtime = 0;
  std::uint64_t slice = 0;
};

struct DsqState {
  std::uint64_t id = 0;
  std::string origin;  // "local cpu N", "bypass cpu N", "global node N", "global", "user"
  std::uint32_t nr = 0;
  std::uint32_t seq = 0;
  std::vector<std::uint64_t> task_kvas;
  bool truncated = false;
  // floe's own keys
  std::vector<QueuedTask> tasks;           // the same tasks, in the same order
  std::uint64_t dsq_kva = 0;               // of the scx_dispatch_q
  std::optional<std::uint64_t> sched_kva;  // of the scx_sched that has it; absent for local ones and in kernels without scx_sched
  std::optional<std::string> problem;      // why the list is not whole
};

struct SchedState {
  bool aborting = false;
  std::int32_t bypass_depth = 0;
  std::uint32_t exit_kind = 0;
  std::optional<std::uint64_t> watchdog_timeout;  // jiffies
  std::optional<std::string> source;              // "live" or "bss_snapshot"
  std::optional<std::uint64_t> sched_kva;
  // floe's own keys
  std::optional<std::string> ops_name;      // sched_ext_ops.name
  std::optional<std::string> enable_state;  // enabling, enabled, disabling, disabled
  std::optional<std::string> exit_kind_name;
};

// struct scx_exit_info, while the kernel still holds it.
struct ExitInfo {
  std::uint32_t kind = 0;
  std::int64_t exit_code = 0;
  std::string reason;
  std::string msg;
  std::vector<std::string> backtrace;  // symbol+offset of each
  std::string dump;                    // the kernel's own text
  bool dump_truncated = false;
};

// One scx_sched of the tree (7.x has sub-schedulers, one per cgroup); the root has no parent.
struct SchedNode {
  std::uint64_t sched_kva = 0;
  std::optional<std::uint64_t> parent_kva;
  std::string ops_name;
  std::int32_t level = 0;
  std::optional<std::string> cgroup_path;
  std::uint32_t exit_kind = 0;
};

// The event counters, summed over CPUs, saturating. Those that the kernel does not have are 0.
struct EventCounters {
  std::uint64_t elapsed_ms = 0;
  std::int64_t select_cpu_fallback = 0;
  std::int64_t dispatch_local_dsq_offline = 0;
  std::int64_t dispatch_keep_last = 0;
  std::int64_t enq_skip_exiting = 0;
  std::int64_t enq_skip_migration_disabled = 0;
  std::int64_t reenq_immed = 0;
  std::int64_t reenq_local_repeat = 0;
  std::int64_t refill_slice_dfl = 0;
  std::int64_t bypass_duration = 0;
  std::int64_t bypass_dispatch = 0;
  std::int64_t bypass_activate = 0;
  std::int64_t insert_not_owned = 0;
  std::int64_t sub_bypass_dispatch = 0;
};

// The task that has waited longest.
struct OldestRunnable {
  std::uint64_t age_jiffies = 0;
  std::optional<QueuedTask> task;    // absent when the age is that of the watchdog's heartbeat
  std::optional<std::uint64_t> dsq;  // id of the DSQ it sits on; absent: in the scheduler's own custody
};

}  // namespace floe::walkers::scx
