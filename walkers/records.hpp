// What the walkers of the kernel at large find, in the shapes and under the names of the dump's JSON. Absent is not zero.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace floe::walkers {

// A task with what a scheduler developer asks about it. Times are nanoseconds.
struct TaskDetails {
  std::int32_t pid = 0;
  std::int32_t tgid = 0;
  std::string comm;
  std::optional<std::int32_t> group_leader_pid;
  std::optional<std::int32_t> real_parent_pid;  // its tgid: what /proc/PID/status calls PPid
  std::optional<std::string> real_parent_comm;
  std::optional<std::int32_t> pgid;
  std::optional<std::int32_t> sid;
  std::optional<std::uint32_t> nr_threads;
  std::uint32_t weight = 0;  // of sched_ext_entity
  std::int32_t prio = 0;
  std::int32_t static_prio = 0;
  std::int32_t normal_prio = 0;
  std::uint32_t rt_priority = 0;
  std::optional<std::string> sched_class;  // fair rt dl idle stop ext
  std::optional<std::uint64_t> core_cookie;
  bool pi_boosted_out_of_scx = false;
  std::uint64_t nvcsw = 0;
  std::uint64_t nivcsw = 0;
  std::optional<std::uint64_t> signal_nvcsw;
  std::optional<std::uint64_t> signal_nivcsw;
  std::uint64_t utime = 0;
  std::uint64_t stime = 0;
  std::optional<std::uint64_t> signal_utime;
  std::optional<std::uint64_t> signal_stime;
  std::optional<std::string> lock_slowpath_match;
  // floe's own keys
  std::uint64_t task_kva = 0;
  std::optional<std::string> state;  // as /proc/PID/stat shows it: R S D ...
  std::optional<std::uint32_t> cpu;
  std::optional<std::uint64_t> sum_exec_runtime;
  std::optional<std::uint32_t> policy;  // SCHED_*: 0 other, 1 fifo, 2 rr, 3 batch, 5 idle, 6 deadline, 7 ext
  std::optional<std::uint64_t> scx_flags;
  std::optional<std::uint64_t> scx_dsq_id;  // of the DSQ it sits on
  std::optional<std::uint64_t> scx_ops_state;
  std::optional<std::uint64_t> scx_slice;
  std::optional<std::uint64_t> scx_dsq_vtime;
  std::optional<std::uint64_t> runnable_at;           // jiffies
  std::optional<std::uint64_t> runnable_age_jiffies;  // of a task on a runnable list
  std::vector<std::int32_t> ns_pids;                  // its pid in each pid namespace it is in below the initial one, outermost first
};

struct PerCpuTime {
  std::uint32_t cpu = 0;
  std::uint64_t cpustat_user_ns = 0;
  std::uint64_t cpustat_nice_ns = 0;
  std::uint64_t cpustat_system_ns = 0;
  std::uint64_t cpustat_softirq_ns = 0;
  std::uint64_t cpustat_irq_ns = 0;
  std::uint64_t cpustat_idle_ns = 0;
  std::uint64_t cpustat_iowait_ns = 0;
  std::uint64_t cpustat_steal_ns = 0;
  std::array<std::uint64_t, 10> softirqs{};  // HI TIMER NET_TX NET_RX BLOCK IRQ_POLL TASKLET SCHED HRTIMER RCU
  std::uint64_t irqs_sum = 0;
  // Absent where the kernel stops no ticks: then cpustat has what it says of idle and iowait.
  std::optional<std::uint64_t> iowait_sleeptime_ns;
  // floe's own keys, by which /proc/stat's idle time of a tickless CPU can be computed: what it has is in idle_sleeptime (in
  // cpustat_idle_ns since the kernel keeps it there, 7.x) and grows from idle_entrytime on while the CPU idles.
  std::optional<std::uint64_t> idle_sleeptime_ns;
  std::optional<std::uint64_t> idle_entrytime_ns;  // absent while it does not idle
};

// Pressure of one kind in one cgroup: total stalled nanoseconds, and the ten-second average in the kernel's fixed point (2048 = 1 %).
struct Pressure {
  std::uint64_t total_ns = 0;
  std::uint64_t avg10_raw = 0;
};

// The reference keys are those of PSI_IRQ_FULL; kernels that do not account it have none.
struct CgroupPsi {
  std::uint64_t cgroup_kva = 0;
  std::optional<std::uint64_t> total_ns;
  std::optional<std::uint64_t> avg10_raw;
  // floe's own keys
  std::string path;
  std::optional<Pressure> cpu_some, cpu_full, memory_some, memory_full, io_some, io_full;
};

struct NodeNuma {
  std::uint32_t node = 0;
  std::uint64_t numa_hit = 0;
  std::uint64_t numa_miss = 0;
  std::uint64_t numa_foreign = 0;
  std::uint64_t numa_interleave_hit = 0;
  std::uint64_t numa_local = 0;
  std::uint64_t numa_other = 0;
};

}  // namespace floe::walkers
