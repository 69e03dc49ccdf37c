#include "freeze/dump/text_report.hpp"

#include <boost/test/unit_test.hpp>
#include <limits>

using namespace floe;
using namespace floe::freeze::dump;
namespace bpf = walkers::bpf;
namespace scx = walkers::scx;

namespace {

scx::QueuedTask worker() {
  return {.kva = 0x1000, .pid = 41, .comm = "worker", .runnable_age_jiffies = 1280, .weight = 100, .dsq_vtime = 0, .slice = 20000000};
}

// What a stalled scheduler leaves.
Report stalled() {
  Report report;
  report.kernel = KernelId{"7.2.13", "#1", "x86_64", "ab", {}};
  report.capture = Capture{"snapshot", 42, {}, {}, {}, {}, 250, 0};
  scx::SchedState& sched = report.scx_sched_state.emplace();
  sched.ops_name = "floe_stall";
  sched.enable_state = "enabled";
  sched.watchdog_timeout = 1250;
  scx::ExitInfo& exit = report.exit_info.emplace();
  exit.kind = 1026;
  exit.reason = "runnable task stall";
  exit.msg = "worker[41] failed to run for 5.120s";
  report.oldest_runnable = scx::OldestRunnable{1280, worker(), 0x2a};
  scx::DsqState& waiting = report.dsq_states.emplace_back();
  waiting.id = 0x2a;
  waiting.origin = "user";
  waiting.nr = 1;
  waiting.task_kvas = {0x1000};
  waiting.tasks = {worker()};
  scx::DsqState& idle = report.dsq_states.emplace_back();
  idle.id = 1;
  idle.origin = "user";
  scx::RqState& rq = report.rq_scx_states.emplace_back();
  rq.nr_running = 1;
  rq.flags = 1;
  rq.curr_pid = 0;
  rq.curr_comm = "swapper/0";
  rq.runnable_task_kvas = {0x1000};
  report.backtraces.push_back({.pid = 41,
                               .comm = "worker",
                               .cpu = {},
                               .why = "stuck",
                               .frames = {"__schedule+0x1", "do_nanosleep+0x2"},
                               .reliable = true,
                               .unavailable = {}});
  report.kernel_log = KernelLog{{{1, 5'000'001'000, 6, "sched_ext: BPF scheduler \"floe_stall\" enabled"}}, 0, false};
  return report;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_report)

BOOST_AUTO_TEST_CASE(nothing_to_show) {
  Report report;
  BOOST_TEST(to_text(report) == "(empty failure dump)");
  report.active_obj_name = "x";
  report.active_map_kvas = {1};
  report.cgroup_psi.emplace_back();
  report.probe_counters.emplace();
  report.is_placeholder = true;
  BOOST_TEST(to_text(report) == "(empty failure dump)");
}

BOOST_AUTO_TEST_CASE(sections_in_their_order) {
  Report report;
  report.maps.emplace_back().name = "m";
  report.vcpu_regs.resize(2);
  report.vcpu_regs[0] = VcpuRegs{0xffffffff81000000, 0x10, 0x20, {}, {}, {}};
  report.sdt_allocations.emplace_back().allocator_name = "a";
  report.scx_static_ranges.skipped = 1;
  report.prog_runtime_stats = {{"idle", 0, 0, 0}, {"enqueue", 4, 10, 1}};
  report.prog_runtime_stats_unavailable = "P";
  report.per_cpu_time.resize(2);
  report.per_node_numa.resize(1);
  report.per_node_numa_unavailable = "N";
  report.task_enrichments.resize(3);
  report.task_enrichments_unavailable = "T";
  report.scx_walker_unavailable = "S";
  report.dsq_states.resize(1);
  report.event_counter_timeline.push_back({.elapsed_ms = 10, .bypass_dispatch = 1});
  report.event_counter_timeline.push_back({.elapsed_ms = 20, .bypass_dispatch = 8});
  report.vcpu_perf_at_freeze.resize(2);
  report.vcpu_perf_at_freeze[0] = VcpuPerf{1000, 1500, 3, 4, 50, 25};
  report.dump_truncated_at_us = 77;
  report.maps_truncated = 2;
  const std::string text = to_text(report);
  BOOST_TEST(text.substr(text.find("map m")) ==
             "map m (type=0, value_size=0, max_entries=0)\n"
             "\n"
             "vcpu_regs:\n"
             "  vcpu 0: ip=0xffffffff81000000 sp=0x0000000000000010 ptroot=0x0000000000000020\n"
             "  vcpu 1: <unavailable>\n"
             "\n"
             "sdt_alloc a (elem_size=0, target_type_id=0): 0 live\n"
             "\n"
             "scx_static: 1 instance(s) skipped\n"
             "\n"
             "prog_runtime_stats:\n"
             "  idle: cnt=0 nsecs=0 misses=0\n"
             "  enqueue: cnt=4 nsecs=10 misses=1 ns/call=2.500 miss_rate=0.2000\n"
             "\n"
             "prog_runtime_stats: <unavailable: P>\n"
             "\n"
             "per_cpu_time: 2 CPUs captured\n"
             "\n"
             "per_node_numa: 1 nodes captured\n"
             "\n"
             "per_node_numa: <unavailable: N>\n"
             "\n"
             "task_enrichments: 3 tasks captured\n"
             "\n"
             "task_enrichments: <unavailable: T>\n"
             "\n"
             "scx_walker: rq_scx=0 dsq=1 sched=absent\n"
             "\n"
             "scx_walker: <unavailable: S>\n"
             "\n"
             "event_counter_timeline: 2 samples (10–20ms)\n"
             "                 bypass_dispatch  ▁█  (last=8)\n"
             "\n"
             "vcpu_perf_at_freeze:\n"
             "  vcpu 0: cycles=1000 insns=1500 ipc=1.500 cache_misses=3 branch_misses=4 (en/ru=50/25 ns)\n"
             "  vcpu 1: <unavailable>\n"
             "\n"
             "dump truncated: deadline crossed at 77us (2 map(s) skipped)");
}

BOOST_AUTO_TEST_CASE(a_sparkline) {
  BOOST_TEST(sparkline({}) == "");
  BOOST_TEST(sparkline({0, 0}) == "▁▁");
  BOOST_TEST(sparkline({5, 5, 5}) == "▅▅▅");
  BOOST_TEST(sparkline({0, 1, 2, 3, 4, 5, 6, 7}) == "▁▂▃▄▅▆▇█");
  BOOST_TEST(sparkline({-9, 7}) == "▁█");
  const auto most = std::numeric_limits<std::int64_t>::max();
  BOOST_TEST(sparkline({0, most / 2, most}) == "▁▄█");
}

BOOST_AUTO_TEST_CASE(what_happened_comes_first) {
  BOOST_TEST(summary_text(stalled()) ==
             "kernel: 7.2.13 x86_64, from snapshot 42\n"
             "scheduler: floe_stall, enabled, watchdog 5.000 s\n"
             "exit: runnable task stall (kind 1026, code 0)\n"
             "  worker[41] failed to run for 5.120s\n"
             "longest wait: worker[41] has been runnable for 5.120 s, on DSQ 0x2a (user)\n"
             "\n"
             "dsqs:\n"
             "  DSQ 0x2a (user): 1 queued\n"
             "    worker[41] runnable for 5.120 s, weight 100, slice 20000000 ns\n"
             "  1 with nothing on it\n"
             "\n"
             "cpus:\n"
             "  cpu  nr_running  flags  runnable       current\n"
             "    0           1    0x1         1  swapper/0[0]\n"
             "\n"
             "backtraces:\n"
             "  worker[41], stuck\n"
             "    __schedule+0x1\n"
             "    do_nanosleep+0x2\n"
             "\n"
             "kernel_log: the last 1 of 1 lines\n"
             "  [    5.000001] sched_ext: BPF scheduler \"floe_stall\" enabled");
  BOOST_TEST(
      reason_line(stalled()) ==
      "runnable task stall: worker[41] failed to run for 5.120s; longest wait: worker[41] has been runnable for 5.120 s, on DSQ 0x2a "
      "(user)");
  BOOST_TEST(reason_line(Report{}) == "");
}

BOOST_AUTO_TEST_CASE(an_age_without_hz_is_in_jiffies) {
  BOOST_TEST(age_text(1280, std::nullopt) == "1280 jiffies");
  BOOST_TEST(age_text(1280, Capture{}) == "1280 jiffies");
}

BOOST_AUTO_TEST_CASE(a_task_with_all_of_it) {
  Report report = stalled();
  walkers::TaskDetails& task = report.task_enrichments.emplace_back();
  task.pid = 41;
  task.comm = "worker";
  task.task_kva = 0x1000;
  task.sched_class = "ext";
  const auto text = task_text(report, 41);
  BOOST_REQUIRE(text.has_value());
  BOOST_TEST(text->starts_with("task worker[41]\n  pid                    41\n"));
  BOOST_TEST(text->find("\n  sched_class            ext\n") != std::string::npos);
  BOOST_TEST(text->find("core_cookie") == std::string::npos);
  BOOST_TEST(text->find("ns_pids") == std::string::npos);
  BOOST_TEST(text->find("\n  queued on              DSQ 0x2a (user)\n    __schedule+0x1") != std::string::npos);
  BOOST_TEST(!task_text(report, 42).has_value());
  report.task_enrichments.back().ns_pids = {7, 1};
  BOOST_TEST(task_text(report, 41)->find("\n  ns_pids                7 1\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_pair) {
  DualReport dual;
  BOOST_TEST(to_text(dual).starts_with("DualFailureDumpReport: early=absent, late=(0 maps, 0 vcpu_regs)\n\nlate snapshot (error-exit; "));
  dual.early_skipped_reason = "R";
  BOOST_TEST(to_text(dual) ==
             "DualFailureDumpReport: early=absent (R), late=(0 maps, 0 vcpu_regs)\n\n"
             "late snapshot (error-exit; early snapshot absent: R):\n(empty failure dump)");
  dual.early.emplace();
  BOOST_TEST(to_text(dual) ==
             "DualFailureDumpReport: early=present (jiffies not captured), late=(0 maps, 0 vcpu_regs)\n\n"
             "early snapshot (sched_ext watchdog half-way):\n(empty failure dump)\n\nlate snapshot (error-exit):\n(empty failure dump)");
  dual.early_max_age_jiffies = 6;
  dual.early_threshold_jiffies = 5;
  BOOST_TEST(to_text(dual).starts_with("DualFailureDumpReport: early=present (max_age=6j, threshold=5j), late="));
}

BOOST_AUTO_TEST_CASE(a_degraded_one) {
  DegradedReport report;
  report.reason = "R";
  report.bss_latch_state = "triggered";
  BOOST_TEST(to_text(report) == "degraded failure dump:\n  reason: R\n  watchpoint_hit: false\n  bss_latch_state: triggered\n");
  report.vcpu_regs.resize(2);
  report.vcpu_regs[0] = VcpuRegs{1, 2, 3, 4, {}, {}};
  report.exit_kind = 1026;
  report.elapsed_ms = 30004;
  BOOST_TEST(to_text(report) ==
             "degraded failure dump:\n  reason: R\n  vcpus_parked: 1/2\n"
             "    vcpu 0: parked, ip=0x0000000000000001 sp=0x0000000000000002 ptroot=0x0000000000000003 uptroot=0x0000000000000004\n"
             "    vcpu 1: not_parked\n"
             "  watchpoint_hit: false\n  bss_latch_state: triggered\n  exit_kind: 1026\n  elapsed_ms: 30004\n");
}

BOOST_AUTO_TEST_SUITE_END()
