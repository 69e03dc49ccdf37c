#include "engine/timer.hpp"

#include <vector>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<void> sleep_and_note(nanoseconds how_long, int number, std::vector<int>& order) {
  const auto slept = co_await sleep_for(how_long);
  if (!slept) co_return slept.failure();
  order.push_back(number);
  co_return ok;
}

task<void> several(std::vector<int>& order) {
  scope all("sleepers");
  all.spawn(sleep_and_note(30ms, 3, order), "c");
  all.spawn(sleep_and_note(10ms, 1, order), "a");
  all.spawn(sleep_and_note(0ms, 0, order), "now");
  all.spawn(sleep_and_note(20ms, 2, order), "b");
  all.spawn(sleep_and_note(20ms, 22, order), "b, later");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.has_value());
  co_return ok;
}

task<void> stop_after(scope& which, nanoseconds delay) {
  const auto slept = co_await sleep_for(delay);
  which.request_stop();
  if (!slept) co_return slept.failure();
  co_return ok;
}

task<void> cancelled_sleep(loop& on) {
  scope all("sleepers");
  std::vector<int> order;
  all.spawn(sleep_and_note(1h, 1, order), "long");
  all.spawn(stop_after(all, 1s), "stopper");
  const auto began = on.now();
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_cancelled());
  BOOST_CHECK(order.empty());
  BOOST_CHECK(on.now() - began == 1s);
  BOOST_TEST(on.counters().timers == 0U);
  co_return ok;
}

task<void> beat(manual_clock& clock) {
  const auto start = clock.now();
  ticker every(1s);
  for (std::uint64_t index = 0; index < 3; ++index) {
    const auto now = co_await every.next();
    BOOST_CHECK(now.has_value() && now->index == index && now->missed == 0);
    BOOST_CHECK(now->due == start + std::chrono::seconds(index + 1));
  }
  clock.advance(3500ms);  // work that took too long: ticks 3, 4 and 5 became due
  const auto late = co_await every.next();
  BOOST_CHECK(late.has_value());
  BOOST_TEST(late->index == 5U);
  BOOST_TEST(late->missed == 2U);
  const auto next = co_await every.next();
  BOOST_TEST(next->index == 6U);
  BOOST_TEST(next->missed == 0U);
  BOOST_CHECK(clock.now() == start + 7s);
  BOOST_TEST(every.missed() == 2U);
  co_return ok;
}

task<void> step(int rounds, int number, std::vector<int>& order) {
  for (int round = 0; round < rounds; ++round) {
    order.push_back(number);
    co_await yield();
  }
  co_return ok;
}

task<void> take_turns(std::vector<int>& order) {
  scope all("turns");
  all.spawn(step(3, 1, order), "one");
  all.spawn(step(3, 2, order), "two");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.has_value());
  co_return ok;
}

// A long computation with nobody else ready keeps going; with somebody more urgent it gives way.
task<int> compute(manual_clock& clock, int steps) {
  for (int done = 0; done < steps; ++done) {
    clock.advance(1us);
    const auto go_on = co_await checkpoint();
    if (!go_on) co_return go_on.failure();
  }
  co_return steps;
}

task<void> park_and_note(std::vector<int>& order, nanoseconds how_long) {
  const auto slept = co_await sleep_for(how_long);
  static_cast<void>(slept);
  order.push_back(2);
  co_return ok;
}

task<void> compute_and_note(manual_clock& clock, std::vector<int>& order, stop_source wake, int wake_at) {
  for (int done = 0; done < 600; ++done) {
    if (done == wake_at) wake.request_stop();  // makes the urgent task ready at once
    clock.advance(1us);
    const auto go_on = co_await checkpoint();
    BOOST_CHECK(go_on.has_value());
  }
  order.push_back(1);
  co_return ok;
}

task<void> urgent_first(manual_clock& clock, std::vector<int>& order, nanoseconds nap, int wake_at) {
  stop_source wake;
  auto parked = with_deadline(with_stop(park_and_note(order, nap), wake.token()), clock.now() + 1h);
  auto both = when_all(std::move(parked), compute_and_note(clock, order, wake, wake_at));
  const auto results = co_await std::move(both);
  BOOST_CHECK(results.has_value());
  co_return ok;
}

task<int> compute_under_deadline(manual_clock& clock) {
  auto limited = with_deadline(compute(clock, 1'000'000), clock.now() + 100us);
  const auto result = co_await std::move(limited);
  if (!result) co_return result.failure();
  co_return *result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(timer)

BOOST_AUTO_TEST_CASE(sleepers_wake_in_order) {
  manual_clock clock;
  std::vector<int> order;
  BOOST_TEST(make_loop(&clock)->run(several(order)).has_value());
  const std::vector<int> expected = {0, 1, 2, 22, 3};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_stop_ends_a_sleep) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(cancelled_sleep(*on)).has_value());
}

BOOST_AUTO_TEST_CASE(ticks_are_absolute_and_missed_ones_counted) {
  manual_clock clock;
  BOOST_TEST(make_loop(&clock)->run(beat(clock)).has_value());
}

BOOST_AUTO_TEST_CASE(yield_takes_turns) {
  std::vector<int> order;
  BOOST_TEST(make_loop()->run(take_turns(order)).has_value());
  const std::vector<int> expected = {1, 2, 1, 2, 1, 2};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(checkpoint_lets_an_earlier_deadline_pass) {
  manual_clock clock;
  std::vector<int> order;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(urgent_first(clock, order, 30min, 10)).has_value());
  const std::vector<int> expected = {2, 1};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(checkpoint_ends_a_long_slice) {
  manual_clock clock;
  std::vector<int> order;
  BOOST_TEST(make_loop(&clock)->run(urgent_first(clock, order, 20us, -1)).has_value());
  const std::vector<int> expected = {2, 1};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(checkpoint_reports_an_expired_deadline) {
  manual_clock clock;
  const auto before = clock.now();
  auto result = make_loop(&clock)->run(compute_under_deadline(clock));
  BOOST_TEST(result.is_error());
  BOOST_TEST(result.error().code == ETIMEDOUT);
  BOOST_CHECK(clock.now() - before <= 110us);
}

BOOST_AUTO_TEST_SUITE_END()
