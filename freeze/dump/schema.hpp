// The keys of the failure dump: for each record its keys in the order in which they are written. Keys are a contract with every reader
// of such a file: none changes its meaning; new ones are added last.
#pragma once

#include "freeze/dump/fields.hpp"
#include "freeze/dump/model.hpp"

namespace floe::freeze::dump::schema {

namespace r = walkers::render;
namespace b = walkers::bpf;
namespace s = walkers::scx;
namespace w = walkers;

// --- values: beside these keys each has "kind", see kValueKinds ---

template <>
struct Fields<r::Int> {
  static constexpr auto list = std::tuple(always("bits", &r::Int::bits), always("value", &r::Int::value));
};
template <>
struct Fields<r::Uint> {
  static constexpr auto list = std::tuple(always("bits", &r::Uint::bits), always("value", &r::Uint::value));
};
template <>
struct Fields<r::Bool> {
  static constexpr auto list = std::tuple(always("value", &r::Bool::value));
};
template <>
struct Fields<r::Char> {
  static constexpr auto list = std::tuple(always("value", &r::Char::value));
};
template <>
struct Fields<r::Float> {
  static constexpr auto list = std::tuple(always("bits", &r::Float::bits), always("value", &r::Float::value));
};
template <>
struct Fields<r::Enum> {
  static constexpr auto list = std::tuple(always("bits", &r::Enum::bits), always("value", &r::Enum::value),
                                          nullable("variant", &r::Enum::variant), lenient("is_signed", &r::Enum::is_signed));
};
template <>
struct Fields<r::NamedValue> {
  static constexpr auto list = std::tuple(always("name", &r::NamedValue::name), always("value", &r::NamedValue::value));
};
template <>
struct Fields<r::Struct> {
  static constexpr auto list = std::tuple(nullable("type_name", &r::Struct::type_name), always("members", &r::Struct::members));
};
template <>
struct Fields<r::Array> {
  static constexpr auto list = std::tuple(always("len", &r::Array::len), always("elements", &r::Array::elements));
};
template <>
struct Fields<r::CpuList> {
  static constexpr auto list = std::tuple(always("cpus", &r::CpuList::cpus));
};
template <>
struct Fields<r::Ptr> {
  static constexpr auto list =
      std::tuple(always("value", &r::Ptr::value), omitted("deref", &r::Ptr::deref),
                 omitted("deref_skipped_reason", &r::Ptr::deref_skipped_reason), omitted("cast_annotation", &r::Ptr::cast_annotation));
};
template <>
struct Fields<r::Bytes> {
  static constexpr auto list = std::tuple(always("hex", &r::Bytes::bytes));
};
template <>
struct Fields<r::Truncated> {
  static constexpr auto list =
      std::tuple(always("needed", &r::Truncated::needed), always("had", &r::Truncated::had), always("partial", &r::Truncated::partial));
};
template <>
struct Fields<r::Unsupported> {
  static constexpr auto list = std::tuple(always("reason", &r::Unsupported::reason));
};

// By the index of the alternative in render::Value::Variant.
inline constexpr const char* kValueKinds[] = {"unsupported", "int",   "uint",     "bool", "char",  "float",    "enum",
                                              "struct",      "array", "cpu_list", "ptr",  "bytes", "truncated"};
static_assert(std::size(kValueKinds) == std::variant_size_v<r::Value::Variant>);

// --- BPF ---

template <>
struct Fields<b::MapEntry> {
  static constexpr auto list =
      std::tuple(omitted("key", &b::MapEntry::key), always("key_hex", &b::MapEntry::key_bytes), omitted("value", &b::MapEntry::value),
                 always("value_hex", &b::MapEntry::value_bytes), omitted("payload", &b::MapEntry::payload));
};
template <>
struct Fields<b::ArrayEntry> {
  static constexpr auto list = std::tuple(always("key", &b::ArrayEntry::key), omitted("value", &b::ArrayEntry::value));
};
template <>
struct Fields<b::PercpuEntry> {
  static constexpr auto list = std::tuple(always("key", &b::PercpuEntry::key), always("per_cpu", &b::PercpuEntry::per_cpu));
};
template <>
struct Fields<b::PercpuHashEntry> {
  static constexpr auto list = std::tuple(omitted("key", &b::PercpuHashEntry::key), always("key_hex", &b::PercpuHashEntry::key_bytes),
                                          always("per_cpu", &b::PercpuHashEntry::per_cpu));
};
template <>
struct Fields<b::Ringbuf> {
  static constexpr auto list =
      std::tuple(always("capacity", &b::Ringbuf::capacity), always("consumer_pos", &b::Ringbuf::consumer_pos),
                 always("producer_pos", &b::Ringbuf::producer_pos), always("pending_pos", &b::Ringbuf::pending_pos),
                 always("pending_bytes", &b::Ringbuf::pending_bytes));
};
template <>
struct Fields<b::StackTraceEntry> {
  static constexpr auto list = std::tuple(always("bucket_id", &b::StackTraceEntry::bucket_id), always("nr", &b::StackTraceEntry::nr),
                                          omitted("pcs", &b::StackTraceEntry::pcs), always("data_hex", &b::StackTraceEntry::data_bytes),
                                          omitted("symbols", &b::StackTraceEntry::symbols));
};
template <>
struct Fields<b::StackTrace> {
  static constexpr auto list =
      std::tuple(always("n_buckets", &b::StackTrace::n_buckets), always("entries", &b::StackTrace::entries),
                 omitted("truncated", &b::StackTrace::truncated), omitted("buckets_unreadable", &b::StackTrace::buckets_unreadable));
};
template <>
struct Fields<b::FdArray> {
  static constexpr auto list = std::tuple(always("populated", &b::FdArray::populated), always("scanned", &b::FdArray::scanned),
                                          omitted("indices", &b::FdArray::indices), omitted("truncated", &b::FdArray::truncated),
                                          omitted("indices_truncated", &b::FdArray::indices_truncated),
                                          omitted("unreadable", &b::FdArray::unreadable), omitted("ids", &b::FdArray::ids));
};
// "bytes" is an array of numbers, not hex: see Numbers.
struct Numbers {
  const char* key;
  std::vector<std::byte> b::ArenaPage::* member;
};
template <>
struct Fields<b::ArenaPage> {
  static constexpr auto list = std::tuple(always("user_addr", &b::ArenaPage::user_addr), Numbers{"bytes", &b::ArenaPage::bytes});
};
template <>
struct Fields<b::ArenaSnapshot> {
  static constexpr auto list =
      std::tuple(omitted("pages", &b::ArenaSnapshot::pages), omitted("truncated", &b::ArenaSnapshot::truncated),
                 always("declared_pages", &b::ArenaSnapshot::declared_pages), omitted("span_capped", &b::ArenaSnapshot::span_capped),
                 always("kern_vm_start", &b::ArenaSnapshot::kern_vm_start), always("user_vm_start", &b::ArenaSnapshot::user_vm_start));
};
template <>
struct Fields<b::Map> {
  static constexpr auto list =
      std::tuple(always("name", &b::Map::name), omitted("map_kva", &b::Map::map_kva), always("map_type", &b::Map::map_type),
                 always("value_size", &b::Map::value_size), always("max_entries", &b::Map::max_entries), omitted("value", &b::Map::value),
                 omitted("entries", &b::Map::entries), omitted("array_entries", &b::Map::array_entries),
                 omitted("percpu_entries", &b::Map::percpu_entries), omitted("percpu_hash_entries", &b::Map::percpu_hash_entries),
                 omitted("arena", &b::Map::arena), omitted("ringbuf", &b::Map::ringbuf), omitted("stack_trace", &b::Map::stack_trace),
                 omitted("fd_array", &b::Map::fd_array), omitted("error", &b::Map::error), omitted("id", &b::Map::id),
                 omitted("key_size", &b::Map::key_size), omitted("map_flags", &b::Map::map_flags),
                 omitted("value_hex", &b::Map::value_bytes), omitted("value_text", &b::Map::value_text));
};
template <>
struct Fields<b::SdtAllocEntry> {
  static constexpr auto list = std::tuple(always("idx", &b::SdtAllocEntry::idx), always("genn", &b::SdtAllocEntry::genn),
                                          always("user_addr", &b::SdtAllocEntry::user_addr), always("payload", &b::SdtAllocEntry::payload));
};
template <>
struct Fields<b::SdtAllocator> {
  static constexpr auto list =
      std::tuple(always("allocator_name", &b::SdtAllocator::allocator_name), omitted("entries", &b::SdtAllocator::entries),
                 omitted("truncated", &b::SdtAllocator::truncated), always("skipped_subtrees", &b::SdtAllocator::skipped_subtrees),
                 always("elem_size", &b::SdtAllocator::elem_size), always("target_type_id", &b::SdtAllocator::target_type_id),
                 omitted("payload_type_reason", &b::SdtAllocator::payload_type_reason));
};
template <>
struct Fields<b::ScxStaticRange> {
  static constexpr auto list =
      std::tuple(always("instance_name", &b::ScxStaticRange::instance_name), always("start_low32", &b::ScxStaticRange::start_low32),
                 always("size", &b::ScxStaticRange::size), always("capacity", &b::ScxStaticRange::capacity));
};
template <>
struct Fields<b::ScxStatic> {
  static constexpr auto list = std::tuple(omitted("ranges", &b::ScxStatic::ranges), always("skipped", &b::ScxStatic::skipped));
};
template <>
struct Fields<b::ProgRuntimeStats> {
  static constexpr auto list = std::tuple(always("name", &b::ProgRuntimeStats::name), always("cnt", &b::ProgRuntimeStats::cnt),
                                          always("nsecs", &b::ProgRuntimeStats::nsecs), always("misses", &b::ProgRuntimeStats::misses),
                                          omitted("id", &b::ProgRuntimeStats::id));
};

// --- the kernel at large ---

template <>
struct Fields<w::PerCpuTime> {
  using T = w::PerCpuTime;
  static constexpr auto list = std::tuple(
      always("cpu", &T::cpu), always("cpustat_user_ns", &T::cpustat_user_ns), always("cpustat_nice_ns", &T::cpustat_nice_ns),
      always("cpustat_system_ns", &T::cpustat_system_ns), always("cpustat_softirq_ns", &T::cpustat_softirq_ns),
      always("cpustat_irq_ns", &T::cpustat_irq_ns), always("cpustat_idle_ns", &T::cpustat_idle_ns),
      always("cpustat_iowait_ns", &T::cpustat_iowait_ns), always("cpustat_steal_ns", &T::cpustat_steal_ns),
      always("softirqs", &T::softirqs), always("irqs_sum", &T::irqs_sum), omitted("iowait_sleeptime_ns", &T::iowait_sleeptime_ns),
      omitted("idle_sleeptime_ns", &T::idle_sleeptime_ns), omitted("idle_entrytime_ns", &T::idle_entrytime_ns));
};
template <>
struct Fields<w::Pressure> {
  static constexpr auto list = std::tuple(always("total_ns", &w::Pressure::total_ns), always("avg10_raw", &w::Pressure::avg10_raw));
};
template <>
struct Fields<w::CgroupPsi> {
  using T = w::CgroupPsi;
  static constexpr auto list =
      std::tuple(always("cgroup_kva", &T::cgroup_kva), omitted("total_ns", &T::total_ns), omitted("avg10_raw", &T::avg10_raw),
                 omitted("path", &T::path), omitted("cpu_some", &T::cpu_some), omitted("cpu_full", &T::cpu_full),
                 omitted("memory_some", &T::memory_some), omitted("memory_full", &T::memory_full), omitted("io_some", &T::io_some),
                 omitted("io_full", &T::io_full));
};
template <>
struct Fields<w::NodeNuma> {
  using T = w::NodeNuma;
  static constexpr auto list = std::tuple(always("node", &T::node), always("numa_hit", &T::numa_hit), always("numa_miss", &T::numa_miss),
                                          always("numa_foreign", &T::numa_foreign), always("numa_interleave_hit", &T::numa_interleave_hit),
                                          always("numa_local", &T::numa_local), always("numa_other", &T::numa_other));
};
template <>
struct Fields<w::TaskDetails> {
  using T = w::TaskDetails;
  static constexpr auto list = std::tuple(
      always("pid", &T::pid), always("tgid", &T::tgid), always("comm", &T::comm), omitted("group_leader_pid", &T::group_leader_pid),
      omitted("real_parent_pid", &T::real_parent_pid), omitted("real_parent_comm", &T::real_parent_comm), omitted("pgid", &T::pgid),
      omitted("sid", &T::sid), omitted("nr_threads", &T::nr_threads), always("weight", &T::weight), always("prio", &T::prio),
      always("static_prio", &T::static_prio), always("normal_prio", &T::normal_prio), always("rt_priority", &T::rt_priority),
      omitted("sched_class", &T::sched_class), omitted("core_cookie", &T::core_cookie),
      always("pi_boosted_out_of_scx", &T::pi_boosted_out_of_scx), always("nvcsw", &T::nvcsw), always("nivcsw", &T::nivcsw),
      omitted("signal_nvcsw", &T::signal_nvcsw), omitted("signal_nivcsw", &T::signal_nivcsw), lenient("utime", &T::utime),
      lenient("stime", &T::stime), omitted("signal_utime", &T::signal_utime), omitted("signal_stime", &T::signal_stime),
      omitted("lock_slowpath_match", &T::lock_slowpath_match), omitted("task_kva", &T::task_kva), omitted("state", &T::state),
      omitted("cpu", &T::cpu), omitted("sum_exec_runtime", &T::sum_exec_runtime), omitted("scx_flags", &T::scx_flags),
      omitted("scx_dsq_id", &T::scx_dsq_id), omitted("scx_ops_state", &T::scx_ops_state), omitted("scx_slice", &T::scx_slice),
      omitted("scx_dsq_vtime", &T::scx_dsq_vtime), omitted("runnable_at", &T::runnable_at),
      omitted("runnable_age_jiffies", &T::runnable_age_jiffies), omitted("policy", &T::policy), omitted("ns_pids", &T::ns_pids));
};

// --- sched_ext ---

template <>
struct Fields<s::EventCounters> {
  using T = s::EventCounters;
  static constexpr auto list = std::tuple(
      always("elapsed_ms", &T::elapsed_ms), lenient("select_cpu_fallback", &T::select_cpu_fallback),
      lenient("dispatch_local_dsq_offline", &T::dispatch_local_dsq_offline), lenient("dispatch_keep_last", &T::dispatch_keep_last),
      lenient("enq_skip_exiting", &T::enq_skip_exiting), lenient("enq_skip_migration_disabled", &T::enq_skip_migration_disabled),
      lenient("reenq_immed", &T::reenq_immed), lenient("reenq_local_repeat", &T::reenq_local_repeat),
      lenient("refill_slice_dfl", &T::refill_slice_dfl), lenient("bypass_duration", &T::bypass_duration),
      lenient("bypass_dispatch", &T::bypass_dispatch), lenient("bypass_activate", &T::bypass_activate),
      lenient("insert_not_owned", &T::insert_not_owned), lenient("sub_bypass_dispatch", &T::sub_bypass_dispatch));
};
template <>
struct Fields<s::RqState> {
  using T = s::RqState;
  static constexpr auto list = std::tuple(
      always("cpu", &T::cpu), always("nr_running", &T::nr_running), always("flags", &T::flags), always("cpu_released", &T::cpu_released),
      omitted("ops_qseq", &T::ops_qseq), omitted("kick_sync", &T::kick_sync), omitted("nr_immed", &T::nr_immed),
      omitted("rq_clock", &T::rq_clock), omitted("curr_pid", &T::curr_pid), omitted("curr_comm", &T::curr_comm),
      always("runnable_task_kvas", &T::runnable_task_kvas), omitted("runnable_truncated", &T::runnable_truncated),
      omitted("lock_held", &T::lock_held), omitted("problem", &T::problem));
};
template <>
struct Fields<s::QueuedTask> {
  using T = s::QueuedTask;
  static constexpr auto list = std::tuple(always("kva", &T::kva), always("pid", &T::pid), always("comm", &T::comm),
                                          omitted("runnable_age_jiffies", &T::runnable_age_jiffies), lenient("weight", &T::weight),
                                          lenient("dsq_vtime", &T::dsq_vtime), lenient("slice", &T::slice));
};
template <>
struct Fields<s::DsqState> {
  using T = s::DsqState;
  static constexpr auto list =
      std::tuple(always("id", &T::id), always("origin", &T::origin), always("nr", &T::nr), always("seq", &T::seq),
                 always("task_kvas", &T::task_kvas), omitted("truncated", &T::truncated), omitted("tasks", &T::tasks),
                 omitted("dsq_kva", &T::dsq_kva), omitted("sched_kva", &T::sched_kva), omitted("problem", &T::problem));
};
template <>
struct Fields<s::SchedState> {
  using T = s::SchedState;
  static constexpr auto list = std::tuple(
      always("aborting", &T::aborting), always("bypass_depth", &T::bypass_depth), always("exit_kind", &T::exit_kind),
      omitted("watchdog_timeout", &T::watchdog_timeout), omitted("source", &T::source), omitted("sched_kva", &T::sched_kva),
      omitted("ops_name", &T::ops_name), omitted("enable_state", &T::enable_state), omitted("exit_kind_name", &T::exit_kind_name));
};
template <>
struct Fields<s::ExitInfo> {
  using T = s::ExitInfo;
  static constexpr auto list =
      std::tuple(always("kind", &T::kind), lenient("exit_code", &T::exit_code), lenient("reason", &T::reason), lenient("msg", &T::msg),
                 omitted("backtrace", &T::backtrace), omitted("dump", &T::dump), omitted("dump_truncated", &T::dump_truncated));
};
template <>
struct Fields<s::SchedNode> {
  using T = s::SchedNode;
  static constexpr auto list =
      std::tuple(always("sched_kva", &T::sched_kva), omitted("parent_kva", &T::parent_kva), lenient("ops_name", &T::ops_name),
                 lenient("level", &T::level), omitted("cgroup_path", &T::cgroup_path), lenient("exit_kind", &T::exit_kind));
};
template <>
struct Fields<s::OldestRunnable> {
  using T = s::OldestRunnable;
  static constexpr auto list = std::tuple(always("age_jiffies", &T::age_jiffies), omitted("task", &T::task), omitted("dsq", &T::dsq));
};

// --- the report ---

template <>
struct Fields<VcpuRegs> {
  using T = VcpuRegs;
  static constexpr auto list =
      std::tuple(always("instruction_pointer", &T::instruction_pointer), always("stack_pointer", &T::stack_pointer),
                 always("page_table_root", &T::page_table_root), omitted("user_page_table_root", &T::user_page_table_root),
                 omitted("tcr_el1", &T::tcr_el1), omitted("symbol", &T::symbol));
};
template <>
struct Fields<VcpuPerf> {
  using T = VcpuPerf;
  static constexpr auto list = std::tuple(always("cycles", &T::cycles), always("instructions", &T::instructions),
                                          always("cache_misses", &T::cache_misses), always("branch_misses", &T::branch_misses),
                                          always("time_enabled_ns", &T::time_enabled_ns), always("time_running_ns", &T::time_running_ns));
};
template <>
struct Fields<ProbeCounters> {
  using T = ProbeCounters;
  static constexpr auto list =
      std::tuple(always("probe_count", &T::probe_count), always("kprobe_returns", &T::kprobe_returns), always("meta_miss", &T::meta_miss),
                 always("ringbuf_drops", &T::ringbuf_drops), always("timeline_count", &T::timeline_count),
                 always("timeline_drops", &T::timeline_drops), always("pi_count", &T::pi_count),
                 always("pi_orphan_fexits", &T::pi_orphan_fexits), always("pi_class_change_count", &T::pi_class_change_count),
                 always("pi_drops", &T::pi_drops), always("lock_contend_count", &T::lock_contend_count),
                 always("lock_contend_drops", &T::lock_contend_drops), always("preempt_disable_count", &T::preempt_disable_count),
                 always("preempt_enable_count", &T::preempt_enable_count), always("trigger_count", &T::trigger_count));
};
template <>
struct Fields<Capture> {
  using T = Capture;
  static constexpr auto list = std::tuple(lenient("source", &T::source), omitted("sequence", &T::sequence), omitted("tick", &T::tick),
                                          omitted("realtime_ns", &T::realtime_ns), omitted("guest_clock_ns", &T::guest_clock_ns),
                                          omitted("jiffies", &T::jiffies), omitted("hz", &T::hz), lenient("took_us", &T::took_us));
};
template <>
struct Fields<KernelId> {
  using T = KernelId;
  static constexpr auto list = std::tuple(lenient("release", &T::release), lenient("version", &T::version), lenient("machine", &T::machine),
                                          lenient("build_id", &T::build_id), omitted("kaslr_offset", &T::kaslr_offset));
};
template <>
struct Fields<LogLine> {
  using T = LogLine;
  static constexpr auto list =
      std::tuple(always("sequence", &T::sequence), always("time_ns", &T::time_ns), always("level", &T::level), always("text", &T::text));
};
template <>
struct Fields<KernelLog> {
  using T = KernelLog;
  static constexpr auto list =
      std::tuple(always("lines", &T::lines), omitted("lines_before", &T::lines_before), omitted("truncated", &T::truncated));
};
template <>
struct Fields<Backtrace> {
  using T = Backtrace;
  static constexpr auto list =
      std::tuple(always("pid", &T::pid), always("comm", &T::comm), omitted("cpu", &T::cpu), lenient("why", &T::why),
                 always("frames", &T::frames), lenient("reliable", &T::reliable), omitted("unavailable", &T::unavailable));
};
template <>
struct Fields<Reason> {
  static constexpr auto list = std::tuple(always("section", &Reason::section), always("text", &Reason::text));
};

template <>
struct Fields<Report> {
  using T = Report;
  static constexpr auto list = std::tuple(
      always("schema", &T::schema), always("maps", &T::maps), omitted("vcpu_regs", &T::vcpu_regs),
      omitted("active_obj_name", &T::active_obj_name), omitted("active_map_kvas", &T::active_map_kvas),
      omitted("sdt_allocations", &T::sdt_allocations), omitted("scx_static_ranges", &T::scx_static_ranges),
      omitted("sdt_alloc_unavailable", &T::sdt_alloc_unavailable), omitted("prog_runtime_stats", &T::prog_runtime_stats),
      omitted("prog_runtime_stats_unavailable", &T::prog_runtime_stats_unavailable), omitted("per_cpu_time", &T::per_cpu_time),
      omitted("cgroup_psi", &T::cgroup_psi), omitted("per_node_numa", &T::per_node_numa),
      omitted("per_node_numa_unavailable", &T::per_node_numa_unavailable), omitted("task_enrichments", &T::task_enrichments),
      omitted("task_enrichments_unavailable", &T::task_enrichments_unavailable),
      omitted("event_counter_timeline", &T::event_counter_timeline), omitted("rq_scx_states", &T::rq_scx_states),
      omitted("dsq_states", &T::dsq_states), omitted("scx_sched_state", &T::scx_sched_state),
      omitted("scx_walker_unavailable", &T::scx_walker_unavailable), omitted("vcpu_perf_at_freeze", &T::vcpu_perf_at_freeze),
      omitted("dump_truncated_at_us", &T::dump_truncated_at_us), omitted("maps_truncated", &T::maps_truncated),
      omitted("probe_counters", &T::probe_counters), omitted("is_placeholder", &T::is_placeholder), omitted("capture", &T::capture),
      omitted("kernel", &T::kernel), omitted("exit_info", &T::exit_info), omitted("exit_info_unavailable", &T::exit_info_unavailable),
      omitted("sub_schedulers", &T::sub_schedulers), omitted("oldest_runnable", &T::oldest_runnable), omitted("backtraces", &T::backtraces),
      omitted("backtraces_unavailable", &T::backtraces_unavailable), omitted("kernel_log", &T::kernel_log),
      omitted("kernel_log_unavailable", &T::kernel_log_unavailable), omitted("maps_unavailable", &T::maps_unavailable),
      omitted("per_cpu_time_unavailable", &T::per_cpu_time_unavailable), omitted("cgroup_psi_unavailable", &T::cgroup_psi_unavailable),
      omitted("vcpu_perf_unavailable", &T::vcpu_perf_unavailable), omitted("tasks_total", &T::tasks_total),
      omitted("reasons", &T::reasons));
};
template <>
struct Fields<DualReport> {
  using T = DualReport;
  static constexpr auto list = std::tuple(always("schema", &T::schema), omitted("early", &T::early), always("late", &T::late),
                                          omitted("early_max_age_jiffies", &T::early_max_age_jiffies),
                                          omitted("early_threshold_jiffies", &T::early_threshold_jiffies),
                                          omitted("early_skipped_reason", &T::early_skipped_reason));
};
template <>
struct Fields<DegradedReport> {
  using T = DegradedReport;
  static constexpr auto list = std::tuple(always("schema", &T::schema), always("reason", &T::reason), omitted("vcpu_regs", &T::vcpu_regs),
                                          always("watchpoint_hit", &T::watchpoint_hit), always("bss_latch_state", &T::bss_latch_state),
                                          omitted("exit_kind", &T::exit_kind), omitted("elapsed_ms", &T::elapsed_ms));
};

}  // namespace floe::freeze::dump::schema
