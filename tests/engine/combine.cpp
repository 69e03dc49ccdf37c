#include "engine/combine.hpp"

#include <string>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<int> after(nanoseconds how_long, int value) {
  const auto slept = co_await sleep_for(how_long);
  if (!slept) co_return slept.failure();
  co_return value;
}

task<std::string> text_after(nanoseconds how_long) {
  const auto slept = co_await sleep_for(how_long);
  if (!slept) co_return slept.failure();
  co_return std::string("text");
}

task<int> fails() {
  co_return fail("no");
}

task<void> all_kinds(loop& on) {
  const auto began = on.now();
  auto three = when_all(after(3s, 1), text_after(1s), fails());
  const auto results = co_await std::move(three);
  const auto& [number, text, failed] = *results;
  BOOST_CHECK(number.has_value() && *number == 1);
  BOOST_CHECK(text.has_value() && *text == "text");
  BOOST_CHECK(failed.is_error());
  BOOST_CHECK(on.now() - began == 3s);
  co_return ok;
}

task<void> a_list() {
  std::vector<task<int>> works;
  for (int index = 0; index < 20; ++index) works.push_back(after(std::chrono::seconds(20 - index), index));
  auto together = when_all(std::move(works));
  const auto results = co_await std::move(together);
  BOOST_TEST(results->size() == 20U);
  for (int index = 0; index < 20; ++index) BOOST_CHECK(*(*results)[static_cast<std::size_t>(index)] == index);
  std::vector<task<int>> none;
  auto nothing = when_all(std::move(none));
  const auto empty = co_await std::move(nothing);
  BOOST_CHECK(empty.has_value() && empty->empty());
  co_return ok;
}

task<void> first(loop& on) {
  const auto began = on.now();
  auto race = when_any(after(5s, 1), text_after(2s), after(1h, 3));
  const auto result = co_await std::move(race);
  BOOST_TEST(result->index == 1U);
  const auto& [slow, quick, slowest] = result->outcomes;
  BOOST_CHECK(slow.is_cancelled());
  BOOST_CHECK(quick.has_value());
  BOOST_CHECK(slowest.is_cancelled());
  BOOST_CHECK(on.now() - began == 2s);
  std::vector<task<int>> works;
  works.push_back(after(9s, 0));
  works.push_back(fails());
  auto list = when_any(std::move(works));
  const auto failed = co_await std::move(list);
  BOOST_TEST(failed->index == 1U);
  BOOST_CHECK(failed->outcomes[1].is_error());
  co_return ok;
}

task<int> limited(nanoseconds work, nanoseconds limit) {
  auto bounded = with_timeout(after(work, 7), limit);
  const auto result = co_await std::move(bounded);
  if (!result) co_return result.failure();
  co_return *result;
}

task<int> inherits(loop& on, nanoseconds outer, nanoseconds inner) {
  auto bounded = with_deadline(limited(1h, inner), on.now() + outer);
  const auto result = co_await std::move(bounded);
  if (!result) co_return result.failure();
  co_return *result;
}

// The deadline that a child sees is the earlier one of its own and its parents'.
task<nanos> seen_deadline() {
  co_return loop::current().current_context().deadline();
}

task<void> deadlines_nest(loop& on) {
  const auto near = on.now() + 1s;
  const auto far = on.now() + 2s;
  auto within_near = with_deadline(with_deadline(seen_deadline(), far), near);
  const auto seen = co_await std::move(within_near);
  BOOST_CHECK(*seen == to_nanos(near));
  const auto back = co_await seen_deadline();
  BOOST_CHECK(*back == kNever);
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(combine)

BOOST_AUTO_TEST_CASE(when_all_waits_for_all) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(all_kinds(*on)).has_value());
  BOOST_TEST(on->run(a_list()).has_value());
}

BOOST_AUTO_TEST_CASE(when_any_stops_the_others) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(first(*on)).has_value());
}

BOOST_AUTO_TEST_CASE(a_deadline_is_an_error_and_only_when_it_passes) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(*on->run(limited(1s, 2s)) == 7);
  auto late = on->run(limited(2s, 1s));
  BOOST_TEST(late.is_error());
  BOOST_TEST(late.error().code == ETIMEDOUT);
  BOOST_TEST(on->counters().deadlines_missed == 1U);
  BOOST_TEST(on->counters().timers == 0U);
}

BOOST_AUTO_TEST_CASE(the_earlier_deadline_counts) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  const auto began = on->now();
  BOOST_TEST(on->run(inherits(*on, 1s, 5s)).is_error());
  BOOST_CHECK(on->now() - began == 1s);
  BOOST_TEST(on->run(inherits(*on, 5s, 1s)).is_error());
  BOOST_CHECK(on->now() - began == 2s);
  BOOST_TEST(on->run(deadlines_nest(*on)).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
