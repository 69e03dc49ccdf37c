#include "engine/task.hpp"

#include <stdexcept>
#include <string>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;

namespace {

int alive = 0;
struct counted {
  counted() { ++alive; }
  counted(const counted&) { ++alive; }
  ~counted() { --alive; }
};

task<int> give(int value) {
  co_return value;
}
task<std::string> give_text() {
  co_return "text";
}
task<std::unique_ptr<int>> give_owned() {
  co_return std::make_unique<int>(3);
}
task<int> give_error() {
  co_return fail(Error(9, "bad"));
}
task<int> give_cancelled() {
  co_return cancelled;
}
task<int> give_result(Result<int> what) {
  co_return std::move(what);
}
task<void> give_braces() {
  co_return {};
}

task<int> throws(bool known) {
  const counted one;
  const auto got = co_await give(1);
  if (known) throw std::runtime_error("boom");
  throw *got;
}

task<int> set_flag(bool& started) {
  started = true;
  co_return 1;
}

// Synchronous awaits must not grow the stack: each child runs and returns by transfer of control.
task<std::uint64_t> many(std::uint64_t count) {
  std::uint64_t sum = 0;
  for (std::uint64_t index = 0; index < count; ++index) {
    const auto got = co_await give(1);
    sum += static_cast<std::uint64_t>(*got);
  }
  co_return sum;
}

task<int> deep(int depth) {
  const counted here;
  if (depth == 0) co_return 0;
  const auto below = co_await deep(depth - 1);
  if (!below) co_return below.failure();
  co_return *below + 1;
}

task<void> steady(std::uint64_t& misses) {
  for (int round = 0; round < 1000; ++round) {
    if (round == 10) misses = frame_pool::counters().misses;
    const auto got = co_await deep(5);
    BOOST_CHECK(got.has_value());
    const auto nothing = co_await nop();
    BOOST_CHECK(nothing.has_value());
  }
  misses = frame_pool::counters().misses - misses;
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(task)

BOOST_AUTO_TEST_CASE(values_errors_and_cancellation) {
  const auto on = make_loop();
  BOOST_TEST(*on->run(give(5)) == 5);
  BOOST_TEST(*on->run(give_text()) == "text");
  auto owned = on->run(give_owned());
  BOOST_TEST(**owned == 3);
  BOOST_TEST(on->run(give_error()).error().code == 9);
  BOOST_TEST(on->run(give_cancelled()).is_cancelled());
  BOOST_TEST(*on->run(give_result(4)) == 4);
  BOOST_TEST(on->run(give_result(fail("r"))).error().message == "r");
  BOOST_TEST(on->run(give_braces()).has_value());
}

BOOST_AUTO_TEST_CASE(is_lazy_and_destroyed_unstarted) {
  const auto on = make_loop();
  bool started = false;
  {
    auto never = set_flag(started);
    BOOST_TEST(!started);
  }
  BOOST_TEST(!started);
  auto later = set_flag(started);
  auto moved = std::move(later);
  BOOST_TEST(!static_cast<bool>(later));
  BOOST_TEST(*on->run(std::move(moved)) == 1);
  BOOST_TEST(started);
}

BOOST_AUTO_TEST_CASE(exceptions_become_errors) {
  const auto on = make_loop();
  BOOST_TEST(on->run(throws(true)).error().message == "an exception left a task: boom");
  BOOST_TEST(on->run(throws(false)).is_error());
  BOOST_TEST(alive == 0);
}

BOOST_AUTO_TEST_CASE(a_million_awaits_do_not_grow_the_stack) {
  const auto on = make_loop();
  BOOST_TEST(*on->run(many(1'000'000)) == 1'000'000U);
}

BOOST_AUTO_TEST_CASE(deep_chains_unwind) {
  const auto on = make_loop();
  BOOST_TEST(*on->run(deep(10'000)) == 10'000);
  BOOST_TEST(alive == 0);
}

BOOST_AUTO_TEST_CASE(a_steady_loop_misses_the_pool_never) {
  const auto on = make_loop();
  std::uint64_t misses = 1;
  BOOST_TEST(on->run(steady(misses)).has_value());
  BOOST_TEST(misses == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
