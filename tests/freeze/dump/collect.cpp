// collect() over whole guests: what a report holds of one that is sound, and what it says where something is not.
#include "freeze/dump/collect.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <functional>
#include <new>
#include <thread>
#include <utility>

#include "freeze/dump/json.hpp"
#include "freeze/dump/reasons.hpp"
#include "tests/freeze/dump/whole_guest.hpp"
#include "tests/walkers/synthetic/bpf_scheduler.hpp"

using namespace floe;
using namespace floe::freeze::dump;
using namespace std::chrono_literals;
using walkers::Kernel;
using walkers::synthetic::BpfGuest;
using walkers::synthetic::Everything;
using walkers::synthetic::Scheduler;
using walkers::synthetic::ScxGuest;
using walkers::synthetic::SyntheticKernel;
using walkers::synthetic::Watched;

namespace {

Report report_of(const SyntheticKernel& guest, const CollectOptions& options = {}) {
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  return collect(*kernel, options);
}

Report report_when_read(const SyntheticKernel& guest, Kva page, std::function<void()> then, const CollectOptions& options = {}) {
  Watched memory(guest);
  const auto kernel = Kernel::open(memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  memory.on_read(page, std::move(then));
  return collect(*kernel, options);
}

bool has_reason(const Report& report, std::string_view section, std::string_view part) {
  return std::any_of(report.reasons.begin(), report.reasons.end(),
                     [&](const auto& reason) { return reason.section == section && reason.text.find(part) != reason.text.npos; });
}

// A struct_ops program that the guest counts.
void add_counted_program(Scheduler& scheduler, std::uint32_t id) {
  const Kva program = scheduler.guest.add_program(id, walkers::bpf::kStructOpsProgram, "dispatch");
  scheduler.guest.guest.put(program + scheduler.guest.offset("bpf_prog.stats"), scheduler.guest.per_cpu_pointer(1024));
}

std::string why(const std::optional<std::string>& unavailable) {
  return unavailable.value_or("");
}

// The sections that have something in them.
std::vector<std::string> filled(const Report& report) {
  std::vector<std::string> list;
  const auto add = [&](bool there, const char* section) {
    if (there) list.emplace_back(section);
  };
  add(report.kernel && !report.kernel->version.empty(), "kernel");
  add(!report.per_cpu_time.empty(), "per_cpu_time");
  add(!report.cgroup_psi.empty(), "cgroup_psi");
  add(!report.task_enrichments.empty(), "task_enrichments");
  add(!report.per_node_numa.empty(), "per_node_numa");
  add(report.scx_sched_state && !report.rq_scx_states.empty() && !report.dsq_states.empty() && report.oldest_runnable, "scx_walker");
  add(!report.event_counter_timeline.empty(), "event_counter_timeline");
  add(!report.vcpu_perf_at_freeze.empty(), "vcpu_perf_at_freeze");
  add(report.kernel_log.has_value(), "kernel_log");
  return list;
}

using Sections = std::vector<std::string>;
const Sections kAll = {"kernel",     "per_cpu_time",           "cgroup_psi",          "task_enrichments", "per_node_numa",
                       "scx_walker", "event_counter_timeline", "vcpu_perf_at_freeze", "kernel_log"};

CollectOptions some_options() {
  CollectOptions options;
  options.capture.source = "core";
  options.capture.sequence = 7;
  options.cpus.resize(1);
  options.cpus[0].id = 1;
  options.cpus[0].rip = 0xffffffff81000000;
  options.vcpu_perf = {VcpuPerf{.cycles = 5}};
  return options;
}

CollectOptions within(std::chrono::nanoseconds deadline) {
  CollectOptions options;
  options.deadline = deadline;
  return options;
}

CollectOptions at_most(std::uint64_t entries) {
  CollectOptions options;
  options.max_entries = entries;
  return options;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(collect)

BOOST_AUTO_TEST_CASE(a_sound_guest_fills_every_section) {
  const Everything guest;
  const auto report = report_of(guest.guest, some_options());
  BOOST_TEST(filled(report) == kAll, boost::test_tools::per_element());
  BOOST_TEST(report.capture->source == "core");
  BOOST_TEST(report.capture->sequence.value() == 7u);
  BOOST_TEST(report.capture->jiffies.value() == ScxGuest::kNow);
  BOOST_TEST(report.capture->hz.value() == 250u);
  BOOST_TEST(report.kernel->release == "7.2.13-synthetic");
  BOOST_TEST(report.kernel->machine == "x86_64");
  BOOST_REQUIRE(report.vcpu_regs.size() == 2u);  // by their ids, with null for the one that is not known
  BOOST_TEST(!report.vcpu_regs[0]);
  BOOST_TEST(report.vcpu_regs[1]->instruction_pointer == 0xffffffff81000000);
  BOOST_TEST(report.per_cpu_time.size() == 2u);
  BOOST_TEST(report.cgroup_psi.size() == 1u);
  BOOST_TEST(report.per_node_numa[0].numa_hit == 77u);
  BOOST_TEST(report.task_enrichments.size() == 3u);
  BOOST_TEST(!report.tasks_total);
  BOOST_TEST(report.scx_sched_state->watchdog_timeout.value() == ScxGuest::kTimeout);
  BOOST_TEST(report.oldest_runnable->age_jiffies == 900u);
  BOOST_TEST(report.event_counter_timeline[0].dispatch_keep_last == 5);
  BOOST_TEST(report.kernel_log->lines.size() == 3u);
  for (const auto* unavailable :
       {&report.per_cpu_time_unavailable, &report.cgroup_psi_unavailable, &report.task_enrichments_unavailable,
        &report.per_node_numa_unavailable, &report.scx_walker_unavailable, &report.vcpu_perf_unavailable, &report.kernel_log_unavailable})
    BOOST_TEST(why(*unavailable) == "");
  BOOST_TEST(!report.dump_truncated_at_us);
  BOOST_TEST(!report.is_placeholder);
}

BOOST_AUTO_TEST_CASE(the_counters_of_this_instant_stand_behind_earlier_samples) {
  const Everything guest;
  CollectOptions options;
  options.events.resize(2);
  options.events[1].elapsed_ms = 2000;
  const auto report = report_of(guest.guest, options);
  BOOST_REQUIRE(report.event_counter_timeline.size() == 3u);
  BOOST_TEST(report.event_counter_timeline[2].dispatch_keep_last == 5);
  BOOST_TEST(report.event_counter_timeline[2].elapsed_ms == 2000u);
  options.capture.guest_clock_ns = 3'500'000'000;
  BOOST_TEST(report_of(guest.guest, options).event_counter_timeline[2].elapsed_ms == 3500u);
}

BOOST_AUTO_TEST_CASE(a_scheduler_s_maps_are_in_the_report) {
  Scheduler scheduler;
  scheduler.add_slot(0, 0, 41);
  scheduler.add_task_data(3);
  scheduler.guest.add_map(4, {.name = "floe_events"});
  add_counted_program(scheduler, 2);
  const auto report = report_of(scheduler.guest.guest);
  BOOST_TEST(report.maps.size() == 3u);  // floe's own is not among them
  BOOST_TEST(report.active_obj_name.value() == "my_sched");
  BOOST_TEST(report.sdt_allocations.size() == 1u);
  BOOST_TEST(report.scx_static_ranges.ranges.size() == 1u);
  BOOST_TEST(report.prog_runtime_stats.size() == 1u);
  BOOST_TEST(why(report.maps_unavailable) == "");
  BOOST_TEST(why(report.sdt_alloc_unavailable) == "");
  BOOST_TEST(why(report.prog_runtime_stats_unavailable) == "");
}

BOOST_AUTO_TEST_CASE(what_was_collected_comes_back_from_json) {
  Scheduler scheduler;
  scheduler.add_slot(0, 0, 41);
  scheduler.add_task_data(3);
  const Everything guest;
  for (const SyntheticKernel* kernel : {&guest.guest, &std::as_const(scheduler.guest.guest)}) {
    const auto written = to_json(report_of(*kernel, some_options()));
    auto read = parse_report(written);
    BOOST_REQUIRE_MESSAGE(read, read.error().message);
    BOOST_TEST(to_json(*read) == written);
  }
}

BOOST_AUTO_TEST_CASE(a_kernel_without_any_of_it_has_a_reason_for_all) {
  const SyntheticKernel guest;
  CollectOptions options;
  options.vcpu_perf_unavailable = "nobody counted";
  const auto report = report_of(guest, options);
  BOOST_TEST(why(report.scx_walker_unavailable) == reason::kNoScxWalker);
  BOOST_TEST(why(report.task_enrichments_unavailable) == reason::kNoTaskWalker);
  BOOST_TEST(has_reason(report, "task_enrichments", "prio"));
  BOOST_TEST(why(report.per_node_numa_unavailable) == reason::kNoNuma);
  BOOST_TEST(has_reason(report, "per_node_numa", "pglist_data"));
  BOOST_TEST(why(report.prog_runtime_stats_unavailable) == reason::kNoProgAccessor);
  BOOST_TEST(why(report.sdt_alloc_unavailable) == reason::kSdtNoArena);
  BOOST_TEST(why(report.maps_unavailable).find("map_idr") != std::string::npos);
  BOOST_TEST(why(report.per_cpu_time_unavailable).find("kernel_cpustat") != std::string::npos);
  BOOST_TEST(why(report.cgroup_psi_unavailable).find("cgroup_root") != std::string::npos);
  BOOST_TEST(why(report.kernel_log_unavailable).find("prb") != std::string::npos);
  BOOST_TEST(why(report.backtraces_unavailable) != "");
  BOOST_TEST(why(report.vcpu_perf_unavailable) == "nobody counted");
  BOOST_TEST(report.kernel->version == "#1 SMP");  // and what is there, is
}

BOOST_AUTO_TEST_CASE(what_sched_ext_lacks_is_told) {
  {
    const ScxGuest detached;
    const auto report = report_of(detached.guest);
    BOOST_TEST(why(report.scx_walker_unavailable) == reason::kScxRootNull);
    BOOST_TEST(report.rq_scx_states.size() == 2u);
    BOOST_TEST(why(report.task_enrichments_unavailable) == reason::kZeroTasks);
  }
  {
    ScxGuest partial({.dsq_groups = false});
    const auto report = report_of(partial.guest);
    BOOST_TEST(why(report.scx_walker_unavailable) == std::string(reason::kScxPartial) + "scx_dispatch_q]; " + reason::kScxRootNull);
  }
  {
    ScxGuest leaving;
    leaving.attach("mine");
    leaving.exit_kind(1026);
    leaving.guest.put(leaving.sched + leaving.guest.offset("scx_sched.exit_info"), std::uint64_t{0});
    const auto report = report_of(leaving.guest);
    BOOST_TEST(report.scx_sched_state->exit_kind == 1026u);
    BOOST_TEST(why(report.exit_info_unavailable) != "");
  }
}

BOOST_AUTO_TEST_CASE(programs_of_other_kinds_are_no_struct_ops) {
  BpfGuest guest;
  guest.add_program(1, 2, "kprobe");
  auto report = report_of(guest.guest);
  BOOST_TEST(why(report.prog_runtime_stats_unavailable) == reason::kNoStructOps);
  BOOST_TEST(why(report.maps_unavailable) == "");
  guest.add_program(2, walkers::bpf::kStructOpsProgram, "enqueue");  // whose counters cannot be read
  report = report_of(guest.guest);
  BOOST_TEST(why(report.prog_runtime_stats_unavailable) == reason::kNoProgAccessor);
  guest.insert("prog_idr", 2, 0);
  // A table that cannot be followed does not say that there are none.
  guest.insert("prog_idr", 1, 0xdead000000000000);
  report = report_of(guest.guest);
  BOOST_TEST(why(report.prog_runtime_stats_unavailable) == reason::kNoProgAccessor);
  BOOST_TEST(has_reason(report, "maps", "program 1 is unreadable"));
}

BOOST_AUTO_TEST_CASE(each_reason_for_no_allocations_is_in_its_own_words) {
  const auto reason_of = [](const Scheduler& scheduler, const CollectOptions& options = {}) {
    return why(report_of(scheduler.guest.guest, options).sdt_alloc_unavailable);
  };
  BOOST_TEST(reason_of(Scheduler(), within(1ns)) == reason::kSdtDeadline);
  BOOST_TEST(reason_of(Scheduler(false)) == reason::kSdtNoType);
  Scheduler unaligned;
  unaligned.guest.guest.put(unaligned.arena + unaligned.guest.offset("bpf_arena.user_vm_start"), Scheduler::kUser + 4096);
  BOOST_TEST(reason_of(unaligned) == reason::kSdtUnaligned);
  Scheduler no_section;
  no_section.guest.put_pointer(no_section.bss, "bpf_map.btf", Kva(0));
  BOOST_TEST(reason_of(no_section) == reason::kSdtNoBss);
  Scheduler no_area;
  no_area.guest.put_pointer(no_area.arena, "bpf_arena.kern_vm", Kva(0));
  BOOST_TEST(reason_of(no_area) == reason::kSdtNoArena);
  Scheduler no_instance;
  no_instance.variable(Scheduler::Program::kAllocator + 8, 0);
  no_instance.variable(Scheduler::Program::kAllocator + 32, 0);
  BOOST_TEST(reason_of(no_instance) == reason::kSdtNoInstance);
}

BOOST_AUTO_TEST_CASE(counters_that_cannot_be_read_are_not_none) {
  Everything guest;
  guest.guest.put(guest.guest.symbol("node_data"), std::uint64_t{0});
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu)
    guest.guest.memory.erase_page(guest.guest.physical(
        Kva(guest.guest.symbol("kernel_cpustat").value + guest.get(guest.guest.symbol("__per_cpu_offset") + 8 * cpu))));
  CollectOptions elsewhere;
  elsewhere.cgroup = "/gone";
  const auto report = report_of(guest.guest, elsewhere);
  BOOST_TEST(why(report.per_node_numa_unavailable) != "");
  BOOST_TEST(why(report.per_cpu_time_unavailable) != "");
  BOOST_TEST(why(report.cgroup_psi_unavailable).find("gone") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(lists_are_capped_and_0_is_no_cap) {
  const Everything guest;
  const auto capped = report_of(guest.guest, at_most(2));
  BOOST_TEST(capped.task_enrichments.size() == 2u);
  BOOST_TEST(capped.tasks_total.value() == 3u);
  BOOST_REQUIRE(capped.kernel_log->lines.size() == 2u);
  BOOST_TEST(capped.kernel_log->lines_before == 1u);
  BOOST_TEST(capped.kernel_log->lines[0].text == "two");
  const auto whole = report_of(guest.guest, at_most(0));
  BOOST_TEST(whole.task_enrichments.size() == 3u);
  BOOST_TEST(!whole.tasks_total);
  BOOST_TEST(whole.kernel_log->lines.size() == 3u);

  Scheduler scheduler;
  for (unsigned i = 0; i < 3; ++i) scheduler.add_slot(i, i * 64, static_cast<std::int32_t>(i));
  const Kva hash =
      scheduler.guest.add_map(3, {.type = walkers::bpf::MapType::hash, .name = "hash", .key_size = 4, .value_size = 8, .max_entries = 8});
  scheduler.guest.add_buckets(hash, 8);
  for (std::uint32_t i = 0; i < 5; ++i) scheduler.guest.add_element(hash, i, i, i);
  const auto few = report_of(scheduler.guest.guest, at_most(2));
  BOOST_TEST(few.maps[2].entries.size() == 2u);
  BOOST_TEST(few.sdt_allocations[0].entries.size() == 2u);
  BOOST_TEST(few.sdt_allocations[0].truncated);
  const auto all = report_of(scheduler.guest.guest, at_most(0));
  BOOST_TEST(all.maps[2].entries.size() == 5u);
  BOOST_TEST(all.sdt_allocations[0].entries.size() == 3u);
  BOOST_TEST(!all.sdt_allocations[0].truncated);
}

BOOST_AUTO_TEST_CASE(no_deadline_is_never_over) {
  const Everything guest;
  auto options = some_options();
  options.deadline = 0ns;
  const auto report = report_of(guest.guest, options);
  BOOST_TEST(filled(report) == kAll, boost::test_tools::per_element());
  BOOST_TEST(!report.dump_truncated_at_us);
}

BOOST_AUTO_TEST_CASE(past_the_deadline_what_may_be_skipped_is) {
  const Everything guest;
  const auto report = report_of(guest.guest, within(1ns));
  BOOST_TEST(report.dump_truncated_at_us.has_value());
  BOOST_TEST(report.rq_scx_states.empty());
  BOOST_TEST(report.dsq_states.empty());
  BOOST_TEST(!report.oldest_runnable);
  BOOST_TEST(report.scx_sched_state->watchdog_timeout.value() == ScxGuest::kTimeout);  // scalars are read in any case
  BOOST_TEST(why(report.scx_walker_unavailable) == reason::kScxNoState);
  BOOST_TEST(why(report.backtraces_unavailable).find("deadline") != std::string::npos);
  BOOST_TEST(report.per_cpu_time.size() == 2u);

  Scheduler scheduler;
  scheduler.add_task_data(3);
  scheduler.guest.add_map(4, {.name = "floe_events"});
  add_counted_program(scheduler, 2);
  const auto maps = report_of(scheduler.guest.guest, within(1ns));
  BOOST_TEST(maps.maps.empty());
  BOOST_TEST(maps.maps_truncated == 3u);  // without floe's own
  BOOST_TEST(why(maps.maps_unavailable) == "");
  BOOST_TEST(maps.prog_runtime_stats.size() == 1u);
  BOOST_TEST(maps.active_obj_name.value() == "my_sched");
  BOOST_TEST(maps.scx_static_ranges.ranges.empty());
}

// The page is one that the phase in question reads first; reading it takes until the deadline is over.
BOOST_AUTO_TEST_CASE(a_deadline_in_the_middle_keeps_what_was_found_by_then) {
  const auto wait = [waited = false]() mutable {
    if (!std::exchange(waited, true)) std::this_thread::sleep_for(1s);
  };
  const Everything guest;
  const auto report = report_when_read(guest.guest, guest.node, wait, within(1s));
  BOOST_TEST(report.task_enrichments.size() == 3u);
  BOOST_TEST(report.per_node_numa.size() == 1u);  // a phase that runs comes to its end
  BOOST_TEST(report.rq_scx_states.empty());
  BOOST_TEST(report.dsq_states.empty());
  BOOST_TEST(why(report.scx_walker_unavailable) == reason::kScxNoState);
  BOOST_TEST(report.dump_truncated_at_us.value() >= 1'000'000u);
  BOOST_TEST(report.dump_truncated_at_us.value() <= report.capture->took_us);

  Scheduler scheduler;
  for (const std::uint32_t id : {5u, 6u, 7u}) scheduler.guest.add_map(id, {.name = "skipped"});
  const auto maps = report_when_read(scheduler.guest.guest, scheduler.pages + 6 * kPageBytes, wait, within(1s));
  // Reading the arena's pages took too long: it is there, what comes after it is counted.
  BOOST_TEST(maps.maps.size() == 1u);
  BOOST_TEST(maps.maps_truncated == 4u);
  BOOST_TEST(why(maps.sdt_alloc_unavailable) != reason::kSdtDeadline);
  BOOST_TEST(maps.dump_truncated_at_us.value() >= 1'000'000u);
}

BOOST_AUTO_TEST_CASE(a_phase_that_gives_up_costs_its_own_section_only) {
  const Everything guest;
  const auto& kernel = guest.guest;
  const Kva counters(kernel.symbol("kernel_cpustat").value + guest.get(kernel.symbol("__per_cpu_offset")));
  const std::vector<std::pair<std::string, Kva>> places = {
      {"kernel", kernel.symbol("init_uts_ns")}, {"per_cpu_time", counters},    {"cgroup_psi", guest.psi},
      {"task_enrichments", guest.signal},       {"per_node_numa", guest.node}, {"scx_walker", guest.global_dsq(0)},
      {"kernel_log", guest.ring.data()},
  };
  for (const auto& [section, place] : places) {
    BOOST_TEST_CONTEXT(section) {
      const auto report = report_when_read(kernel, place, [] { throw std::bad_alloc(); }, some_options());
      BOOST_TEST(has_reason(report, section, "given up: "));
      Sections others = kAll;
      std::erase(others, section);
      BOOST_TEST(filled(report) == others, boost::test_tools::per_element());
      BOOST_TEST(report.capture->took_us > 0u);
    }
  }
  // And an empty section has its reason beside it.
  const auto thrown = [&](Kva place) { return report_when_read(kernel, place, [] { throw std::bad_alloc(); }); };
  BOOST_TEST(why(thrown(counters).per_cpu_time_unavailable) != "");
  BOOST_TEST(why(thrown(guest.psi).cgroup_psi_unavailable) != "");
  BOOST_TEST(why(thrown(guest.signal).task_enrichments_unavailable) == reason::kNoTaskWalker);
  BOOST_TEST(why(thrown(guest.node).per_node_numa_unavailable) != "");
  BOOST_TEST(why(thrown(guest.global_dsq(0)).scx_walker_unavailable) == reason::kNoScxWalker);
  BOOST_TEST(why(thrown(guest.ring.data()).kernel_log_unavailable) != "");

  const Scheduler scheduler;
  const auto maps = report_when_read(scheduler.guest.guest, scheduler.bss, [] { throw std::bad_alloc(); });
  BOOST_TEST(has_reason(maps, "maps", "given up: "));
  BOOST_TEST(why(maps.maps_unavailable) != "");
  BOOST_TEST(why(maps.prog_runtime_stats_unavailable) == reason::kNoProgAccessor);
  BOOST_TEST(why(maps.sdt_alloc_unavailable) == reason::kSdtNoBss);
  BOOST_TEST(maps.kernel->version == "#1 SMP");
}

BOOST_AUTO_TEST_SUITE_END()
