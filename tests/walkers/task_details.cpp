#include "walkers/task_details.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/scx.hpp"
#include "walkers/lock_slowpaths.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::ScxGuest;
using synthetic::SyntheticKernel;

namespace {

TaskDetailsTable details_of(const ScxGuest& guest, std::vector<RunningAt> running = {}, WalkBudget budget = WalkBudget(10'000)) {
  const auto kernel = Kernel::open(guest.guest.memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  const auto table = tasks(*kernel);
  BOOST_REQUIRE(table);
  auto details = task_details(*kernel, *table, scx::Layout::of(*kernel), running, budget);
  BOOST_REQUIRE_MESSAGE(details, details.error().message);
  return std::move(*details);
}

const TaskDetails& with_pid(const TaskDetailsTable& table, std::int32_t pid) {
  const auto found = std::find_if(table.tasks.begin(), table.tasks.end(), [&](const auto& task) { return task.pid == pid; });
  BOOST_REQUIRE(found != table.tasks.end());
  return *found;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(task_details)

BOOST_AUTO_TEST_CASE(everything_of_a_task_is_told) {
  ScxGuest guest;
  auto& kernel = guest.guest;
  guest.attach("mine");
  const Kva parent = guest.add_task(11, "parent");
  const Kva task = guest.add_task(12, "task");
  const auto put = [&](const char* member, auto value) { kernel.put(task + kernel.offset(member), value); };
  put("task_struct.real_parent", parent.value);
  put("task_struct.prio", std::int32_t{115});
  put("task_struct.static_prio", std::int32_t{116});
  put("task_struct.normal_prio", std::int32_t{117});
  put("task_struct.rt_priority", std::uint32_t{9});
  put("task_struct.nvcsw", std::uint64_t{21});
  put("task_struct.nivcsw", std::uint64_t{22});
  put("task_struct.utime", std::uint64_t{23});
  put("task_struct.stime", std::uint64_t{24});
  put("task_struct.se.sum_exec_runtime", std::uint64_t{25});
  put("task_struct.core_cookie", std::uint64_t{26});
  put("task_struct.policy", std::uint32_t{7});
  const Kva signal(guest.get(task + kernel.offset("task_struct.signal")));
  kernel.put(signal + kernel.offset("signal_struct.nr_threads"), std::int32_t{3});
  kernel.put(signal + kernel.offset("signal_struct.utime"), std::uint64_t{31});
  kernel.put(signal + kernel.offset("signal_struct.nivcsw"), std::uint64_t{32});
  for (const auto& [index, number] : {std::pair(2, 700), std::pair(3, 800)}) {
    const Kva pid = kernel.allocate(kPageBytes);
    kernel.put(signal + kernel.offset("signal_struct.pids") + 8 * static_cast<unsigned>(index), pid.value);
    kernel.put(pid + kernel.offset("pid.numbers"), number);
  }
  guest.make_runnable(task, 0, 40);
  guest.enqueue(task, guest.add_user_dsq(0x100, 0));
  kernel.put(guest.scx(task) + kernel.offset("sched_ext_entity.ops_state"), std::uint64_t{2});

  const auto table = details_of(guest);
  BOOST_TEST(table.problem_count == 0u);
  const auto& details = with_pid(table, 12);
  BOOST_TEST(details.comm == "task");
  BOOST_TEST(details.tgid == 12);
  BOOST_TEST(details.task_kva == task.value);
  BOOST_TEST(details.real_parent_pid.value() == 11);
  BOOST_TEST(details.real_parent_comm.value() == "parent");
  BOOST_TEST(details.group_leader_pid.value() == 12);
  BOOST_TEST(details.pgid.value() == 700);
  BOOST_TEST(details.sid.value() == 800);
  BOOST_TEST(details.nr_threads.value() == 3u);
  BOOST_TEST(details.prio == 115);
  BOOST_TEST(details.static_prio == 116);
  BOOST_TEST(details.normal_prio == 117);
  BOOST_TEST(details.rt_priority == 9u);
  BOOST_TEST(details.nvcsw == 21u);
  BOOST_TEST(details.nivcsw == 22u);
  BOOST_TEST(details.utime == 23u);
  BOOST_TEST(details.stime == 24u);
  BOOST_TEST(details.sum_exec_runtime.value() == 25u);
  BOOST_TEST(details.core_cookie.value() == 26u);
  BOOST_TEST(details.policy.value() == 7u);
  BOOST_TEST(details.ns_pids.empty());
  BOOST_TEST(details.signal_utime.value() == 31u);
  BOOST_TEST(details.signal_nivcsw.value() == 32u);
  BOOST_TEST(details.sched_class.value() == "ext");
  BOOST_TEST(!details.pi_boosted_out_of_scx);
  BOOST_TEST(details.state.value() == "R");
  BOOST_TEST(details.weight == 100u);
  BOOST_TEST(details.scx_dsq_id.value() == 0x100u);
  BOOST_TEST(details.scx_ops_state.value() == 2u);
  BOOST_TEST(details.runnable_at.value() == ScxGuest::kNow - 40);
  BOOST_TEST(details.runnable_age_jiffies.value() == 40u);
  const auto& asleep = with_pid(table, 11);
  BOOST_TEST(!asleep.runnable_age_jiffies);
  BOOST_TEST(!asleep.scx_dsq_id);
  BOOST_TEST(!asleep.pgid);
}

BOOST_AUTO_TEST_CASE(a_runnable_task_of_another_class_was_boosted_out) {
  ScxGuest guest;
  guest.attach("mine");
  for (const std::int32_t pid : {11, 12}) {
    const Kva task = guest.add_task(pid, "task");
    guest.guest.put(task + guest.guest.offset("task_struct.sched_class"), guest.guest.symbol("rt_sched_class").value);
    if (pid == 11) guest.make_runnable(task, 0, 1);
  }
  const auto table = details_of(guest);
  BOOST_TEST(with_pid(table, 11).sched_class.value() == "rt");
  BOOST_TEST(with_pid(table, 11).pi_boosted_out_of_scx);
  BOOST_TEST(!with_pid(table, 12).pi_boosted_out_of_scx);
}

BOOST_AUTO_TEST_CASE(a_task_has_a_number_in_each_pid_namespace_it_is_in) {
  ScxGuest guest;
  auto& kernel = guest.guest;
  const Kva task = guest.add_task(11, "task");
  const Kva pid = kernel.allocate(kPageBytes);
  kernel.put(task + kernel.offset("task_struct.thread_pid"), pid.value);
  const auto put_level = [&](std::uint32_t level) { kernel.put(pid + kernel.offset("pid.level"), level); };
  for (const std::uint64_t depth : {0, 1, 2})
    kernel.put(pid + kernel.offset("pid.numbers") + 16 * depth, static_cast<std::int32_t>(11 - 5 * depth));
  put_level(0);
  BOOST_TEST(with_pid(details_of(guest), 11).ns_pids.empty());
  put_level(2);
  const std::vector<std::int32_t> inner = {6, 1};
  BOOST_TEST(with_pid(details_of(guest), 11).ns_pids == inner, boost::test_tools::per_element());
  // A level that no kernel has.
  put_level(~std::uint32_t{0});
  BOOST_TEST(with_pid(details_of(guest), 11).ns_pids.size() == 32u);
  // A pid whose numbers are not there.
  kernel.put(task + kernel.offset("task_struct.thread_pid"), pid.value + kPageBytes - 16);
  kernel.put(pid + (kPageBytes - 16) + kernel.offset("pid.level"), std::uint32_t{1});
  const auto table = details_of(guest);
  BOOST_TEST(with_pid(table, 11).ns_pids.empty());
  BOOST_TEST(table.problem_count == 1u);
}

BOOST_AUTO_TEST_CASE(a_class_that_is_none_is_absent) {
  ScxGuest guest;
  const Kva task = guest.add_task(11, "task");
  guest.guest.put(task + guest.guest.offset("task_struct.sched_class"), guest.guest.symbol("rt_sched_class").value + 8);
  BOOST_TEST(!with_pid(details_of(guest), 11).sched_class);
}

BOOST_AUTO_TEST_CASE(the_task_on_a_vcpu_in_a_slow_path_is_matched) {
  ScxGuest guest;
  const Kva spins = guest.add_task(11, "spins");
  const Kva runs = guest.add_task(12, "runs");
  guest.guest.put(guest.rq(0) + guest.guest.offset("rq.curr"), spins.value);
  guest.guest.put(guest.rq(1) + guest.guest.offset("rq.curr"), runs.value);
  const auto slow = guest.guest.symbol("native_queued_spin_lock_slowpath").value;
  const auto table = details_of(guest, {{0, slow + 0xff}, {1, slow + 0x100}});
  BOOST_TEST(with_pid(table, 11).lock_slowpath_match.value() == "queued_spin_lock_slowpath");
  BOOST_TEST(!with_pid(table, 12).lock_slowpath_match);  // already in the function behind it
}

BOOST_AUTO_TEST_CASE(slow_paths_are_known_in_their_variants_and_by_their_size) {
  ScxGuest guest;
  const auto kernel = Kernel::open(guest.guest.memory);
  const LockSlowpaths slowpaths(kernel->symbols());
  const auto read = guest.guest.symbol("rwsem_down_read_slowpath.constprop.0").value;
  BOOST_TEST(slowpaths.match(read) == "rwsem_down_read_slowpath");
  BOOST_TEST(slowpaths.match(read + 0xff) == "rwsem_down_read_slowpath");
  BOOST_TEST(slowpaths.match(read + 0x100).empty());
  BOOST_TEST(slowpaths.match(read - 1).empty());
  BOOST_TEST(slowpaths.match(0).empty());
}

BOOST_AUTO_TEST_CASE(a_task_that_only_sched_ext_knows_is_listed_last) {
  ScxGuest guest;
  auto& kernel = guest.guest;
  const Kva first = guest.add_task(11, "reaped");
  guest.add_task(12, "last");
  // unlink it from the process list
  const auto node = first + kernel.offset("task_struct.tasks");
  kernel.put(Kva(guest.get(node + 8)), guest.get(node));
  kernel.put(Kva(guest.get(node)) + 8, guest.get(node + 8));
  kernel.put(first + kernel.offset("task_struct.exit_state"), std::int32_t{0x10});
  const auto table = details_of(guest);
  BOOST_REQUIRE(table.tasks.size() == 2u);
  BOOST_TEST(table.tasks[0].pid == 12);
  BOOST_TEST(table.tasks[1].pid == 11);
  BOOST_TEST(table.tasks[1].comm == "reaped");
  BOOST_TEST(table.tasks[1].state.value() == "X");
}

BOOST_AUTO_TEST_CASE(wild_pointers_cost_what_is_behind_them) {
  ScxGuest guest;
  const Kva task = guest.add_task(11, "task");
  for (const char* member : {"task_struct.real_parent", "task_struct.group_leader", "task_struct.signal"})
    guest.guest.put(task + guest.guest.offset(member), std::uint64_t{0xdead000000000000});
  guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.dsq"), std::uint64_t{8});
  const auto table = details_of(guest);
  const auto& details = with_pid(table, 11);
  BOOST_TEST(!details.real_parent_pid);
  BOOST_TEST(!details.real_parent_comm);
  BOOST_TEST(!details.group_leader_pid);
  BOOST_TEST(!details.nr_threads);
  BOOST_TEST(!details.pgid);
  BOOST_TEST(!details.signal_utime);
  BOOST_TEST(!details.scx_dsq_id);
  BOOST_TEST(details.weight == 100u);
}

BOOST_AUTO_TEST_CASE(the_table_keeps_to_its_budget) {
  ScxGuest guest;
  for (int pid = 1; pid <= 30; ++pid) guest.add_task(pid, "many");
  const auto table = details_of(guest, {}, WalkBudget(10));
  BOOST_TEST(table.tasks.size() == 10u);
  BOOST_TEST(table.problem_count == 1u);
  BOOST_TEST(table.problems[0].find("step limit reached") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_kernel_whose_types_lack_priorities_has_no_details) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory);
  WalkBudget budget;
  const auto details = walkers::task_details(*kernel, TaskTable{}, scx::Layout::of(*kernel), {}, budget);
  BOOST_REQUIRE(!details);
  BOOST_TEST(details.error().message.find("prio") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
