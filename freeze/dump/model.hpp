// The failure dump: everything that was found in one memory, as plain values.
//
// Members stand in the order of the JSON keys and carry their names; schema.hpp says which of them are left out when. What floe adds
// to the keys that other readers of such dumps know comes last in each record. The pairing rule: a list that is empty without its
// `*_unavailable` was read and had nothing in it; with it, it was not read, and why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "walkers/bpf/records.hpp"
#include "walkers/records.hpp"
#include "walkers/scx/records.hpp"

namespace floe::freeze::dump {

// Of a vCPU, immediately before it parked. The page table root keeps its flag bits.
struct VcpuRegs {
  std::uint64_t instruction_pointer = 0;
  std::uint64_t stack_pointer = 0;
  std::uint64_t page_table_root = 0;
  std::optional<std::uint64_t> user_page_table_root;  // aarch64
  std::optional<std::uint64_t> tcr_el1;               // aarch64
  // floe's own key
  std::optional<std::string> symbol;  // of the instruction pointer, as symbol+offset
};

// Counts of the guest alone. Running below enabled means multiplexing: scale by the ratio.
struct VcpuPerf {
  std::uint64_t cycles = 0;
  std::uint64_t instructions = 0;
  std::uint64_t cache_misses = 0;
  std::uint64_t branch_misses = 0;
  std::uint64_t time_enabled_ns = 0;
  std::uint64_t time_running_ns = 0;
};

// What the probe in the guest says of itself.
struct ProbeCounters {
  std::uint64_t probe_count = 0;
  std::uint64_t kprobe_returns = 0;
  std::uint64_t meta_miss = 0;
  std::uint64_t ringbuf_drops = 0;
  std::uint64_t timeline_count = 0;
  std::uint64_t timeline_drops = 0;
  std::uint64_t pi_count = 0;
  std::uint64_t pi_orphan_fexits = 0;
  std::uint64_t pi_class_change_count = 0;
  std::uint64_t pi_drops = 0;
  std::uint64_t lock_contend_count = 0;
  std::uint64_t lock_contend_drops = 0;
  std::uint64_t preempt_disable_count = 0;
  std::uint64_t preempt_enable_count = 0;
  std::uint64_t trigger_count = 0;
};

// Which kernel this was.
struct KernelId {
  std::string release;
  std::string version;
  std::string machine;
  std::string build_id;
  std::optional<std::uint64_t> kaslr_offset;
};

// Which instant this was, and where its bytes came from.
struct Capture {
  std::string source;  // "snapshot", "core", "kcore", "guest"
  std::optional<std::uint64_t> sequence;
  std::optional<std::uint64_t> tick;
  std::optional<std::uint64_t> realtime_ns;
  std::optional<std::uint64_t> guest_clock_ns;
  std::optional<std::uint64_t> jiffies;
  std::optional<std::uint32_t> hz;  // jiffies in a second
  std::uint64_t took_us = 0;        // to make this report
};

struct LogLine {
  std::uint64_t sequence = 0;
  std::uint64_t time_ns = 0;  // of the guest's local clock, as dmesg prints it
  std::uint32_t level = 0;    // 0 emergency ... 7 debug
  std::string text;
};

struct KernelLog {
  std::vector<LogLine> lines;      // oldest first
  std::uint64_t lines_before = 0;  // older ones that the kernel had, left out here
  bool truncated = false;          // the ring could not be followed to its end
};

// A task's kernel stack.
struct Backtrace {
  std::int32_t pid = 0;
  std::string comm;
  std::optional<std::uint32_t> cpu;  // where it was running at this instant
  std::string why;                   // "stuck", "current"
  std::vector<std::string> frames;   // innermost first, symbol+offset
  bool reliable = true;              // false: from some frame on it is a guess, or the walk broke off
  std::optional<std::string> unavailable;
};

// Why something is not in the dump. A section's `*_unavailable` holds one reason; here are all.
struct Reason {
  std::string section;
  std::string text;
};

// Moved, never copied: values in it cannot be, and saying so here keeps a compiler from trying.
struct Report {
  Report() = default;
  Report(Report&&) = default;
  Report& operator=(Report&&) = default;

  std::string schema = "single";
  std::vector<walkers::bpf::Map> maps;
  std::vector<std::optional<VcpuRegs>> vcpu_regs;  // by vCPU
  std::optional<std::string> active_obj_name;
  std::vector<std::uint64_t> active_map_kvas;
  std::vector<walkers::bpf::SdtAllocator> sdt_allocations;
  walkers::bpf::ScxStatic scx_static_ranges;
  std::optional<std::string> sdt_alloc_unavailable;
  std::vector<walkers::bpf::ProgRuntimeStats> prog_runtime_stats;
  std::optional<std::string> prog_runtime_stats_unavailable;
  std::vector<walkers::PerCpuTime> per_cpu_time;
  std::vector<walkers::CgroupPsi> cgroup_psi;
  std::vector<walkers::NodeNuma> per_node_numa;
  std::optional<std::string> per_node_numa_unavailable;
  std::vector<walkers::TaskDetails> task_enrichments;
  std::optional<std::string> task_enrichments_unavailable;
  std::vector<walkers::scx::EventCounters> event_counter_timeline;
  std::vector<walkers::scx::RqState> rq_scx_states;
  std::vector<walkers::scx::DsqState> dsq_states;
  std::optional<walkers::scx::SchedState> scx_sched_state;
  std::optional<std::string> scx_walker_unavailable;         // may stand beside data: then some of it is missing
  std::vector<std::optional<VcpuPerf>> vcpu_perf_at_freeze;  // by vCPU
  std::optional<std::uint64_t> dump_truncated_at_us;         // from the start to when the deadline was first seen to be over
  std::uint32_t maps_truncated = 0;                          // not rendered for the deadline
  std::optional<ProbeCounters> probe_counters;
  bool is_placeholder = false;  // nothing was captured
  // floe's own keys
  std::optional<Capture> capture;
  std::optional<KernelId> kernel;
  std::optional<walkers::scx::ExitInfo> exit_info;
  std::optional<std::string> exit_info_unavailable;
  std::vector<walkers::scx::SchedNode> sub_schedulers;
  std::optional<walkers::scx::OldestRunnable> oldest_runnable;
  std::vector<Backtrace> backtraces;
  std::optional<std::string> backtraces_unavailable;
  std::optional<KernelLog> kernel_log;
  std::optional<std::string> kernel_log_unavailable;
  std::optional<std::string> maps_unavailable;
  std::optional<std::string> per_cpu_time_unavailable;
  std::optional<std::string> cgroup_psi_unavailable;
  std::optional<std::string> vcpu_perf_unavailable;
  std::optional<std::uint32_t> tasks_total;  // how many there were where the cap left some out
  std::vector<Reason> reasons;
};

// A pair: half-way to the watchdog's limit, and at the exit.
struct DualReport {
  std::string schema = "dual";
  std::optional<Report> early;
  Report late;
  std::uint64_t early_max_age_jiffies = 0;
  std::uint64_t early_threshold_jiffies = 0;
  std::optional<std::string> early_skipped_reason;
};

// The trigger fired and the capture could not run.
struct DegradedReport {
  std::string schema = "degraded";
  std::string reason;
  std::vector<std::optional<VcpuRegs>> vcpu_regs;  // absent: that vCPU never parked
  bool watchpoint_hit = false;
  std::string bss_latch_state;  // "triggered", "not_triggered", "out_of_bounds", "not_resolved"
  std::optional<std::uint32_t> exit_kind;
  std::uint64_t elapsed_ms = 0;
};

using AnyReport = std::variant<Report, DualReport, DegradedReport>;

// A report in the place of one that could not be made: every section says why.
Report placeholder(const std::string& reason);

}  // namespace floe::freeze::dump
