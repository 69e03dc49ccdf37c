#include "walkers/scx/state.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/scx/opened.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::scx;
using synthetic::ScxGuest;
using synthetic::ScxSpec;
using synthetic::SyntheticKernel;

BOOST_AUTO_TEST_SUITE(state)

BOOST_AUTO_TEST_CASE(all_of_it_is_read_and_nothing_is_unavailable) {
  for (const auto generation : {ScxSpec::Generation::variables, ScxSpec::Generation::sched, ScxSpec::Generation::tree}) {
    ScxGuest guest({.generation = generation});
    guest.attach("mine");
    guest.make_runnable(guest.add_task(11, "task"), 0, 30);
    Opened at(guest);
    const auto found = read_state(*at.kernel, at.layout, at.budget);
    BOOST_TEST(!found.unavailable);
    BOOST_TEST(found.sched.has_value());
    BOOST_TEST(found.rqs.size() == 2u);
    BOOST_TEST(found.oldest->age_jiffies == 30u);
    BOOST_TEST(found.jiffies.value() == ScxGuest::kNow);
    BOOST_TEST(found.problem_count == 0u);
    BOOST_TEST(at.layout.missing.empty());  // what a generation does not have is not missing
  }
}

BOOST_AUTO_TEST_CASE(a_kernel_without_sched_ext_has_no_walker) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE(kernel);
  const auto layout = Layout::of(*kernel);
  WalkBudget budget;
  BOOST_TEST(!layout.exists());
  BOOST_TEST(read_state(*kernel, layout, budget).unavailable.value() == "no scx walker capture");
}

BOOST_AUTO_TEST_CASE(without_a_scheduler_the_run_queues_are_there_and_the_reason) {
  ScxGuest guest;
  Opened at(guest);
  const auto found = read_state(*at.kernel, at.layout, at.budget);
  BOOST_TEST(found.unavailable.value() == "scx_root is NULL (no scheduler attached)");
  BOOST_TEST(found.rqs.size() == 2u);
  BOOST_TEST(found.dsqs.size() == 2u);
}

BOOST_AUTO_TEST_CASE(reasons_stand_side_by_side) {
  ScxGuest guest({.dsq_groups = false});
  Opened at(guest);
  const auto found = read_state(*at.kernel, at.layout, at.budget);
  BOOST_TEST(found.unavailable.value() ==
             "scx walker partial: missing offset groups [scx_dispatch_q]; scx_root is NULL (no scheduler attached)");
}

BOOST_AUTO_TEST_CASE(a_scheduler_without_any_queue_reached_no_state) {
  ScxGuest guest;
  guest.attach("mine");
  Opened at(guest);
  State nothing;
  nothing.sched.emplace();
  BOOST_TEST(why_unavailable(at.layout, nothing).value() == "scx walker reached no state");
}

BOOST_AUTO_TEST_CASE(counters_are_summed_over_cpus_and_saturate) {
  ScxGuest guest;
  guest.attach("mine");
  guest.add_event(0, "SCX_EV_DISPATCH_KEEP_LAST", 40);
  guest.add_event(1, "SCX_EV_DISPATCH_KEEP_LAST", 2);
  guest.add_event(0, "SCX_EV_REFILL_SLICE_DFL", std::numeric_limits<std::int64_t>::max());
  guest.add_event(1, "SCX_EV_REFILL_SLICE_DFL", 1);
  {
    Opened at(guest);
    const auto events = event_counters(at.walk);
    BOOST_REQUIRE(events);
    BOOST_TEST(events->dispatch_keep_last == 42);
    BOOST_TEST(events->refill_slice_dfl == std::numeric_limits<std::int64_t>::max());
    BOOST_TEST(events->bypass_duration == 0);
  }
  guest.detach();
  Opened at(guest);
  BOOST_TEST(!event_counters(at.walk));
}

BOOST_AUTO_TEST_SUITE_END()
