#include "walkers/scx/queues.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "tests/walkers/scx/opened.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::scx;
using synthetic::ScxGuest;
using synthetic::ScxSpec;

BOOST_AUTO_TEST_SUITE(queues)

BOOST_AUTO_TEST_CASE(each_dsq_lists_its_tasks_in_order) {
  ScxGuest guest({.nodes = 2});
  guest.attach("mine");
  const Kva shared = guest.add_user_dsq(0x100, 1);
  const Kva stuck = guest.add_user_dsq(0x5157, 1);
  int pid = 10;
  for (const Kva dsq : {shared, shared, shared, stuck, guest.local_dsq(1), guest.global_dsq(1), guest.bypass_dsq(0)}) {
    const Kva task = guest.add_task(++pid, "task");
    guest.make_runnable(task, 0, 5);
    guest.enqueue(task, dsq);
    guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.dsq_vtime"), std::uint64_t{1000});
  }
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(dsqs.size() == 8u);  // local and bypass of two CPUs, global of two nodes, two of the user
  BOOST_TEST(pids(find(dsqs, "user", 0x100)->tasks) == (Pids{11, 12, 13}), boost::test_tools::per_element());
  BOOST_TEST(pids(find(dsqs, "user", 0x5157)->tasks) == (Pids{14}), boost::test_tools::per_element());
  BOOST_TEST(pids(find(dsqs, "local cpu 1", 0x8000000000000002)->tasks) == (Pids{15}), boost::test_tools::per_element());
  BOOST_TEST(find(dsqs, "local cpu 0", 0x8000000000000002)->tasks.empty());
  BOOST_TEST(pids(find(dsqs, "global node 1", 0x8000000000000001)->tasks) == (Pids{16}), boost::test_tools::per_element());
  BOOST_TEST(pids(find(dsqs, "bypass cpu 0", 0x8000000000000003)->tasks) == (Pids{17}), boost::test_tools::per_element());
  const auto& first = find(dsqs, "user", 0x100)->tasks[0];
  BOOST_TEST(first.comm == "task");
  BOOST_TEST(first.runnable_age_jiffies.value() == 5u);
  BOOST_TEST(first.weight == 100u);
  BOOST_TEST(first.dsq_vtime == 1000u);
  BOOST_TEST(find(dsqs, "user", 0x100)->nr == 3u);
  BOOST_TEST(find(dsqs, "user", 0x100)->sched_kva.value() == guest.sched.value);
  BOOST_TEST(!find(dsqs, "local cpu 0", 0x8000000000000002)->sched_kva);
  BOOST_TEST(at.walk.problem_count == 0u);
}

BOOST_AUTO_TEST_CASE(cursors_on_a_list_are_no_tasks) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva dsq = guest.add_user_dsq(7, 0);
  guest.add_cursor(dsq);
  guest.enqueue(guest.add_task(11, "one"), dsq);
  guest.add_cursor(dsq);
  guest.enqueue(guest.add_task(12, "two"), dsq);
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(pids(find(dsqs, "user", 7)->tasks) == (Pids{11, 12}), boost::test_tools::per_element());
  BOOST_TEST(!find(dsqs, "user", 7)->problem);
}

BOOST_AUTO_TEST_CASE(a_dsq_whose_list_is_circular_is_truncated) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva dsq = guest.add_user_dsq(7, 0);
  std::vector<Kva> nodes;
  for (int pid = 11; pid <= 14; ++pid) {
    const Kva task = guest.add_task(pid, "loop");
    guest.enqueue(task, dsq);
    nodes.push_back(guest.scx(task) + guest.guest.offset("sched_ext_entity.dsq_list"));
  }
  guest.guest.put(nodes[3], nodes[1].value);
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  const auto* looped = find(dsqs, "user", 7);
  BOOST_TEST(looped->truncated);
  BOOST_TEST(pids(looped->tasks) == (Pids{11, 12, 13, 14}), boost::test_tools::per_element());
  BOOST_TEST(looped->problem.value().find("instead of its head") != std::string::npos);
}

// The same loop with every back link made to fit it, which is as far as a guest can go to hide it.
BOOST_AUTO_TEST_CASE(a_loop_whose_back_links_fit_is_found_too) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva dsq = guest.add_user_dsq(7, 0);
  std::vector<Kva> nodes;
  for (int pid = 11; pid <= 14; ++pid) {
    const Kva task = guest.add_task(pid, "loop");
    guest.enqueue(task, dsq);
    nodes.push_back(guest.scx(task) + guest.guest.offset("sched_ext_entity.dsq_list"));
  }
  guest.guest.put(nodes[3], nodes[1].value);
  guest.guest.put(nodes[1] + 8, nodes[3].value);
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(find(dsqs, "user", 7)->tasks.size() == 4u);
  BOOST_TEST(find(dsqs, "user", 7)->truncated);
}

BOOST_AUTO_TEST_CASE(a_wild_link_ends_a_list_with_its_reason) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva dsq = guest.add_user_dsq(7, 0);
  const Kva task = guest.add_task(11, "one");
  guest.enqueue(task, dsq);
  guest.enqueue(guest.add_task(12, "two"), dsq);
  guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.dsq_list"), std::uint64_t{0xdead000000000100});
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(find(dsqs, "user", 7)->tasks.size() == 1u);
  BOOST_TEST(!find(dsqs, "user", 7)->truncated);
  BOOST_TEST(find(dsqs, "user", 7)->problem.value().find("0xdead000000000100") != std::string::npos);
  BOOST_TEST(any_mentions(at.walk.problems, "DSQ 0x7 (user)"));
}

BOOST_AUTO_TEST_CASE(a_budget_ends_a_list) {
  ScxGuest guest;
  guest.attach("mine");
  for (int pid = 11; pid <= 40; ++pid) guest.enqueue(guest.add_task(pid, "many"), guest.local_dsq(0));
  Opened at(guest, 20);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(dsqs[0].tasks.size() == 20u);
  BOOST_TEST(dsqs[0].truncated);
  BOOST_TEST(any_mentions(at.walk.problems, "step limit reached"));
}

BOOST_AUTO_TEST_CASE(run_queues_tell_who_runs_and_who_waits) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva running = guest.add_task(11, "running");
  guest.guest.put(guest.rq(1) + guest.guest.offset("rq.curr"), running.value);
  guest.guest.put(guest.rq(1) + guest.guest.offset("rq.__lock"), std::uint32_t{1});
  const Kva scx = guest.rq(1) + guest.guest.offset("rq.scx");
  guest.guest.put(scx + guest.guest.offset("scx_rq.nr_running"), std::uint32_t{3});
  guest.guest.put(scx + guest.guest.offset("scx_rq.kick_sync"), std::uint64_t{44});
  const Kva first = guest.add_task(12, "first");
  const Kva second = guest.add_task(13, "second");
  guest.make_runnable(first, 1, 3);
  guest.make_runnable(second, 1, 2);
  Opened at(guest);
  const auto rqs = rq_states(at.walk);
  BOOST_REQUIRE(rqs.size() == 2u);
  BOOST_TEST(rqs[0].curr_comm.value() == "swapper/0");
  BOOST_TEST(!rqs[0].lock_held);
  BOOST_TEST(rqs[1].curr_pid.value() == 11);
  BOOST_TEST(rqs[1].lock_held);
  BOOST_TEST(rqs[1].nr_running == 3u);
  BOOST_TEST(rqs[1].kick_sync.value() == 44u);
  BOOST_TEST(!rqs[1].ops_qseq);  // this kernel has none
  BOOST_TEST(rqs[1].runnable_task_kvas == (std::vector<std::uint64_t>{first.value, second.value}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(kernels_with_scx_sched_and_no_pnode_have_global_dsqs_in_it) {
  ScxGuest guest({.generation = ScxSpec::Generation::sched, .nodes = 2});
  guest.attach("mine");
  guest.enqueue(guest.add_task(11, "one"), guest.global_dsq(1));
  guest.enqueue(guest.add_task(12, "two"), guest.add_user_dsq(9, 0));
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  BOOST_TEST(dsqs.size() == 5u);
  BOOST_TEST(pids(find(dsqs, "global node 1", 0x8000000000000001)->tasks) == (Pids{11}), boost::test_tools::per_element());
  BOOST_TEST(pids(find(dsqs, "user", 9)->tasks) == (Pids{12}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(kernels_without_scx_sched_have_variables) {
  ScxGuest guest({.generation = ScxSpec::Generation::variables});
  guest.attach("mine");
  guest.enqueue(guest.add_task(11, "one"), guest.global_dsq(0));
  guest.enqueue(guest.add_task(12, "two"), guest.add_user_dsq(9, 0));
  {
    Opened at(guest);
    const auto dsqs = dsq_states(at.walk);
    BOOST_TEST(pids(find(dsqs, "global node 0", 0x8000000000000001)->tasks) == (Pids{11}), boost::test_tools::per_element());
    BOOST_TEST(pids(find(dsqs, "user", 9)->tasks) == (Pids{12}), boost::test_tools::per_element());
  }
  guest.detach();  // what is left in the variables is nobody's
  Opened at(guest);
  BOOST_TEST(dsq_states(at.walk).size() == 2u);
}

BOOST_AUTO_TEST_CASE(dsqs_of_sub_schedulers_are_listed_with_their_scheduler) {
  ScxGuest guest;
  guest.attach("root");
  const Kva child = guest.add_child(guest.sched, 1, "child", "/part");
  Opened at(guest);
  const auto dsqs = dsq_states(at.walk);
  const auto count = [&](Kva sched) {
    return std::count_if(dsqs.begin(), dsqs.end(), [&](const auto& dsq) { return dsq.sched_kva == sched.value; });
  };
  BOOST_TEST(count(guest.sched) == 3);
  BOOST_TEST(count(child) == 3);
}

BOOST_AUTO_TEST_CASE(known_tasks_leave_out_iterators) {
  ScxGuest guest;
  const Kva first = guest.add_task(11, "one");
  const Kva cursor = guest.add_task(0, "");
  guest.guest.put(guest.scx(cursor) + guest.guest.offset("sched_ext_entity.flags"), std::uint32_t{1u << 31});
  const Kva second = guest.add_task(12, "two");
  Opened at(guest);
  const auto tasks = known_tasks(at.walk);
  BOOST_REQUIRE(tasks.size() == 2u);
  BOOST_TEST(tasks[0].value == first.value);
  BOOST_TEST(tasks[1].value == second.value);
}

BOOST_AUTO_TEST_SUITE_END()
