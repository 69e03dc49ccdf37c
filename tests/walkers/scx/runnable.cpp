#include "walkers/scx/runnable.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/scx/opened.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::scx;
using synthetic::ScxGuest;

BOOST_AUTO_TEST_SUITE(runnable)

BOOST_AUTO_TEST_CASE(the_task_that_waits_longest_is_named_with_its_dsq) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva dsq = guest.add_user_dsq(0x5157, 2);
  const Kva quick = guest.add_task(11, "quick");
  guest.make_runnable(quick, 0, 20);
  const Kva stuck = guest.add_task(12, "stuck");
  guest.make_runnable(stuck, 1, 900);
  guest.enqueue(stuck, dsq);
  guest.add_task(13, "asleep");
  Opened at(guest);
  const auto oldest = oldest_runnable(at.walk);
  BOOST_REQUIRE(oldest);
  BOOST_TEST(oldest->age_jiffies == 900u);
  BOOST_TEST(oldest->task->pid == 12);
  BOOST_TEST(oldest->dsq.value() == 0x5157u);
}

BOOST_AUTO_TEST_CASE(a_task_in_the_schedulers_custody_is_on_no_dsq) {
  ScxGuest guest;
  guest.attach("mine");
  guest.make_runnable(guest.add_task(12, "held"), 1, 5);
  Opened at(guest);
  BOOST_TEST(oldest_runnable(at.walk)->task->comm == "held");
  BOOST_TEST(!oldest_runnable(at.walk)->dsq);
}

BOOST_AUTO_TEST_CASE(a_stale_stamp_is_no_wait) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva task = guest.add_task(11, "runs");
  guest.make_runnable(task, 0, 5000);
  for (const std::uint32_t flags : {1u | 4u, 0u}) {  // to be stamped anew; not queued
    guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.flags"), flags);
    Opened at(guest);
    BOOST_TEST(!oldest_runnable(at.walk));
  }
  guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.flags"), std::uint32_t{1});
  guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.runnable_at"), ScxGuest::kNow + 50);
  Opened ahead(guest);
  BOOST_TEST(oldest_runnable(ahead.walk)->age_jiffies == 0u);
  guest.guest.put(guest.scx(task) + guest.guest.offset("sched_ext_entity.runnable_at"), std::uint64_t{1});
  Opened corrupt(guest);
  BOOST_TEST(!oldest_runnable(corrupt.walk));
}

BOOST_AUTO_TEST_CASE(a_watchdog_that_does_not_run_counts_once_it_is_overdue) {
  ScxGuest guest;
  guest.attach("mine");
  guest.make_runnable(guest.add_task(11, "task"), 0, 3);
  const Kva stamp = guest.guest.symbol("scx_watchdog_timestamp");
  guest.guest.put(stamp, ScxGuest::kNow - ScxGuest::kTimeout);
  {
    Opened at(guest);
    BOOST_TEST(oldest_runnable(at.walk)->task->pid == 11);
  }
  guest.guest.put(stamp, ScxGuest::kNow - ScxGuest::kTimeout - 1);
  {
    Opened at(guest);
    BOOST_TEST(!oldest_runnable(at.walk)->task);
    BOOST_TEST(oldest_runnable(at.walk)->age_jiffies == ScxGuest::kTimeout + 1);
  }
  guest.enable_state(2);  // it is not armed then
  Opened at(guest);
  BOOST_TEST(oldest_runnable(at.walk)->task->pid == 11);
}

BOOST_AUTO_TEST_CASE(a_torn_list_of_all_tasks_leaves_those_on_run_queues) {
  ScxGuest guest;
  guest.attach("mine");
  guest.make_runnable(guest.add_task(11, "task"), 0, 30);
  guest.guest.put(guest.guest.symbol("scx_tasks"), std::uint64_t{0xdead000000000100});
  Opened at(guest);
  BOOST_TEST(oldest_runnable(at.walk)->age_jiffies == 30u);
  BOOST_TEST(any_mentions(at.walk.problems, "scx_tasks"));
}

BOOST_AUTO_TEST_CASE(without_a_scheduler_nobody_waits_for_one) {
  ScxGuest guest;
  guest.make_runnable(guest.add_task(11, "task"), 0, 30);
  Opened at(guest);
  BOOST_TEST(!oldest_runnable(at.walk));
}

BOOST_AUTO_TEST_SUITE_END()
