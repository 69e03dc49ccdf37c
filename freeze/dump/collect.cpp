#include "freeze/dump/collect.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "freeze/dump/collect_stacks.hpp"
#include "freeze/dump/reasons.hpp"
#include "freeze/event_timeline.hpp"
#include "walkers/bpf/dump.hpp"
#include "walkers/cpu_time.hpp"
#include "walkers/numa.hpp"
#include "walkers/psi.hpp"
#include "walkers/scx/state.hpp"
#include "walkers/task_details.hpp"
#include "walkers/tick_rate.hpp"
#include "walkers/uts.hpp"

namespace floe::freeze::dump {
namespace {

using Clock = walkers::WalkBudget::Clock;

constexpr std::uint64_t kMostCgroupSteps = 65'536;
constexpr std::uint32_t kMostVcpus = 8192;

const char* words(walkers::bpf::NoAllocations why) {
  switch (why) {
    case walkers::bpf::NoAllocations::deadline:
      return reason::kSdtDeadline;
    case walkers::bpf::NoAllocations::unaligned:
      return reason::kSdtUnaligned;
    case walkers::bpf::NoAllocations::no_bss:
      return reason::kSdtNoBss;
    case walkers::bpf::NoAllocations::no_arena:
      return reason::kSdtNoArena;
    case walkers::bpf::NoAllocations::no_type:
      return reason::kSdtNoType;
    case walkers::bpf::NoAllocations::no_instance:
      break;
  }
  return reason::kSdtNoInstance;
}

const char* words(walkers::bpf::NoPrograms why) {
  return why == walkers::bpf::NoPrograms::none_loaded ? reason::kNoStructOps : reason::kNoProgAccessor;
}

void set_caps(walkers::bpf::MapLimits& limits, std::uint64_t most) {
  for (std::uint64_t* cap : {&limits.array_keys, &limits.percpu_keys, &limits.hash_entries, &limits.stack_buckets, &limits.fd_slots,
                             &limits.fd_indices, &limits.arena_pages, &limits.allocator_slots})
    *cap = most;
}

class Collector {
 public:
  Collector(const walkers::Kernel& kernel, const CollectOptions& options)
      : kernel_(kernel), options_(options), layout_(walkers::scx::Layout::of(kernel)) {
    if (options.deadline.count() > 0) deadline_ = started_ + options.deadline;
  }

  Report run() {
    phase("kernel", [&] { identify(); });
    phase("per_cpu_time", [&] { cpu_time(); });
    phase("cgroup_psi", [&] { psi(); });
    phase("task_enrichments", [&] { tasks(); });
    (void)late();
    phase("per_node_numa", [&] { numa(); });
    phase("scx_walker", [&] { scheduler(); });
    phase("event_counter_timeline", [&] { events(); });
    phase("vcpu_perf_at_freeze", [&] { perf(); });
    phase("kernel_log", [&] { log(); });
    phase("backtraces", [&] { stacks(); });
    phase("maps", [&] { maps(); });
    settle();
    return std::move(report_);
  }

 private:
  // What a walker throws (no memory for what a hostile guest made it ask for) costs its own phase.
  template <class Work>
  void phase(const char* section, Work work) {
    try {
      work();
      return;
    } catch (const std::exception& thrown) {
      reason(section, fmt::format("given up: {}", thrown.what()));
    }
    given_up(section);
  }

  // The section's own reason, where the phase had not come to set one.
  void given_up(std::string_view section) {
    const auto set = [&](std::string_view name, std::optional<std::string>& unavailable, const char* text) {
      if (section == name && !unavailable) unavailable = text;
    };
    set("task_enrichments", report_.task_enrichments_unavailable, reason::kNoTaskWalker);
    set("per_node_numa", report_.per_node_numa_unavailable, "given up");
    set("scx_walker", report_.scx_walker_unavailable, reason::kNoScxWalker);
    set("maps", report_.prog_runtime_stats_unavailable, reason::kNoProgAccessor);
    set("maps", report_.sdt_alloc_unavailable, reason::kSdtNoBss);
    set("maps", report_.maps_unavailable, "given up");
    set("per_cpu_time", report_.per_cpu_time_unavailable, "given up");
    set("cgroup_psi", report_.cgroup_psi_unavailable, "given up");
    set("kernel_log", report_.kernel_log_unavailable, "given up");
    set("backtraces", report_.backtraces_unavailable, "given up");
  }

  bool late() {
    if (!deadline_ || Clock::now() < *deadline_) return false;
    if (!report_.dump_truncated_at_us) report_.dump_truncated_at_us = elapsed_us();
    return true;
  }

  std::uint64_t elapsed_us() const {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started_).count());
  }
  walkers::WalkBudget budget(std::uint64_t steps) const { return walkers::WalkBudget(steps, deadline_); }
  void reason(const char* section, std::string text) { report_.reasons.push_back({section, std::move(text)}); }
  void reasons(const char* section, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) reason(section, text);
  }

  void identify() {
    report_.capture = options_.capture;
    report_.capture->hz = walkers::tick_rate(kernel_);
    KernelId& id = report_.kernel.emplace();
    id.release = kernel_.info().release();
    id.build_id = kernel_.info().build_id();
    id.kaslr_offset = kernel_.info().kernel_offset();
    if (const auto uts = walkers::uts(kernel_)) {
      id.version = uts->version;
      id.machine = uts->machine;
    } else {
      reason("kernel", uts.error().message);
    }
    for (const auto& cpu : options_.cpus) {
      if (cpu.id >= kMostVcpus) continue;
      if (report_.vcpu_regs.size() <= cpu.id) report_.vcpu_regs.resize(cpu.id + 1);
      VcpuRegs& regs = report_.vcpu_regs[cpu.id].emplace();
      regs.instruction_pointer = cpu.rip;
      regs.stack_pointer = cpu.rsp;
      regs.page_table_root = cpu.cr3().value_or(0);
    }
  }

  void cpu_time() {
    auto times = walkers::cpu_times(kernel_);
    if (!times) {
      report_.per_cpu_time_unavailable = times.error().message;
      return;
    }
    report_.per_cpu_time = std::move(*times);
    if (report_.per_cpu_time.empty()) report_.per_cpu_time_unavailable = "the counters of no CPU are readable";
  }

  void psi() {
    auto steps = budget(kMostCgroupSteps);
    auto table = walkers::cgroup_psi(kernel_, options_.cgroup, steps);
    if (!table) {
      report_.cgroup_psi_unavailable = table.error().message;
      return;
    }
    report_.cgroup_psi = std::move(table->cgroups);
    reasons("cgroup_psi", table->problems);
  }

  void tasks() {
    auto table = walkers::tasks(kernel_, budget(walkers::kMostTaskSteps));
    if (!table) {
      report_.task_enrichments_unavailable = reason::kNoTaskWalker;
      reason("task_enrichments", table.error().message);
      return;
    }
    table_ = std::move(*table);
    reasons("task_enrichments", table_.problems);
    std::vector<walkers::RunningAt> running;
    for (const auto& cpu : options_.cpus) running.push_back({cpu.id, cpu.rip});
    auto steps = budget(walkers::kMostTaskSteps);
    auto details = walkers::task_details(kernel_, table_, layout_, running, steps);
    if (!details) {
      report_.task_enrichments_unavailable = reason::kNoTaskWalker;
      reason("task_enrichments", details.error().message);
      return;
    }
    reasons("task_enrichments", details->problems);
    const std::uint64_t cap = options_.max_entries.value_or(kMostTasks);
    if (cap != 0 && details->tasks.size() > cap) {
      report_.tasks_total = static_cast<std::uint32_t>(details->tasks.size());
      details->tasks.resize(cap);
    }
    report_.task_enrichments = std::move(details->tasks);
    if (report_.task_enrichments.empty()) report_.task_enrichments_unavailable = reason::kZeroTasks;
  }

  void numa() {
    auto nodes = walkers::numa_events(kernel_);
    if (!nodes) {
      report_.per_node_numa_unavailable = reason::kNoNuma;
      reason("per_node_numa", nodes.error().message);
      return;
    }
    report_.per_node_numa = std::move(*nodes);
    if (report_.per_node_numa.empty()) report_.per_node_numa_unavailable = "no node is readable";
  }

  void scheduler() {
    namespace scx = walkers::scx;
    scx::State state;
    if (layout_.exists()) {
      auto steps = budget(scx::kMostSteps);
      scx::Walk walk(kernel_, layout_, steps);
      report_.capture->jiffies = walk.jiffies();
      state.sched = scx::sched_state(walk);
      report_.exit_info = scx::exit_info(walk);
      report_.sub_schedulers = scx::sched_tree(walk);
      events_ = scx::event_counters(walk);
      if (!late()) state.rqs = scx::rq_states(walk);
      if (!late()) state.dsqs = scx::dsq_states(walk);
      if (!late()) report_.oldest_runnable = scx::oldest_runnable(walk);
      reasons("scx_walker", walk.problems);
    }
    report_.scx_walker_unavailable = scx::why_unavailable(layout_, state);
    if (state.sched && state.sched->exit_kind != 0 && !report_.exit_info)
      report_.exit_info_unavailable = "the kernel does not hold an exit info at this instant";
    report_.scx_sched_state = std::move(state.sched);
    report_.rq_scx_states = std::move(state.rqs);
    report_.dsq_states = std::move(state.dsqs);
  }

  // The samples of the run, and the counters of this instant behind them.
  void events() {
    report_.event_counter_timeline = options_.events;
    if (!events_) return;
    if (options_.capture.guest_clock_ns)
      events_->elapsed_ms = elapsed_ms(*options_.capture.guest_clock_ns);
    else if (!report_.event_counter_timeline.empty())
      events_->elapsed_ms = report_.event_counter_timeline.back().elapsed_ms;
    report_.event_counter_timeline.push_back(*events_);
  }

  void perf() {
    report_.vcpu_perf_at_freeze = options_.vcpu_perf;
    if (!options_.vcpu_perf_unavailable.empty()) report_.vcpu_perf_unavailable = options_.vcpu_perf_unavailable;
  }

  void log() {
    auto log = collect_log(kernel_, deadline_, options_.max_entries.value_or(kMostLogLines));
    if (log)
      report_.kernel_log = std::move(*log);
    else
      report_.kernel_log_unavailable = log.error().message;
  }

  void stacks() {
    if (late()) {
      report_.backtraces_unavailable = "the dump's deadline was over";
      return;
    }
    std::vector<walkers::CpuRegisters> cpus;
    for (const auto& cpu : options_.cpus) cpus.push_back({cpu.id, cpu.rip, cpu.rsp, cpu.rbp, cpu.rax, cpu.rdx, cpu.rdi, cpu.r10, cpu.r13});
    collect_stacks(kernel_, table_, cpus, deadline_, report_);
  }

  void maps() {
    walkers::bpf::DumpOptions how;
    how.deadline = deadline_;
    how.leave_out = is_own_map;
    if (options_.casts != nullptr) {
      how.casts = [casts = options_.casts](const walkers::render::TypeTable& types) { return casts->find(types); };
      reasons("casts", options_.casts->problems());
    }
    if (options_.max_entries) set_caps(how.limits, *options_.max_entries);
    auto found = walkers::bpf::dump_maps(kernel_, how);
    report_.maps = std::move(found.maps);
    report_.maps_unavailable = std::move(found.maps_unavailable);
    report_.maps_truncated = found.maps_truncated;
    report_.active_obj_name = std::move(found.active_obj_name);
    report_.active_map_kvas = std::move(found.active_map_kvas);
    report_.sdt_allocations = std::move(found.sdt_allocations);
    report_.scx_static_ranges = std::move(found.scx_static_ranges);
    report_.prog_runtime_stats = std::move(found.prog_runtime_stats);
    if (found.sdt_alloc_unavailable) report_.sdt_alloc_unavailable = words(*found.sdt_alloc_unavailable);
    if (found.prog_runtime_stats_unavailable) report_.prog_runtime_stats_unavailable = words(*found.prog_runtime_stats_unavailable);
    reasons("maps", found.problems);
  }

  void settle() {
    (void)late();
    if (!report_.capture) report_.capture = options_.capture;
    report_.capture->took_us = elapsed_us();
  }

  const walkers::Kernel& kernel_;
  const CollectOptions& options_;
  const Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> deadline_;
  walkers::scx::Layout layout_;
  walkers::TaskTable table_;
  std::optional<walkers::scx::EventCounters> events_;
  Report report_;
};

}  // namespace

Report collect(const walkers::Kernel& kernel, const CollectOptions& options) {
  return Collector(kernel, options).run();
}

bool is_own_map(std::string_view name) {
  constexpr std::array<std::string_view, 6> names = {"probe_bp", "fentry_p", "func_meta_map", "probe_data", "probe_scratch", "floe_events"};
  return name.starts_with("probe_bp.") || name.starts_with("fentry_p.") || std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace floe::freeze::dump
