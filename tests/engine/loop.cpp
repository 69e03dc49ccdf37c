// The loop: a first task, real descriptors, timers on a manual clock, posts from threads.
#include "engine/loop.hpp"

#include <string>
#include <thread>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;

namespace {

task<int> answer() {
  co_return 42;
}
task<int> wrong() {
  co_return fail("no");
}
task<void> nothing() {
  co_return ok;
}

task<int> add() {
  const auto first = co_await answer();
  const auto second = co_await answer();
  co_return *first + *second;
}

task<int> hand_on() {
  auto got = co_await wrong();
  if (!got) co_return std::move(got).failure();
  co_return 1;
}

task<std::size_t> through_pipe(int from, int to) {
  std::array<std::byte, 16> out{};
  const auto put = co_await write_all(to, out);
  if (!put) co_return put.failure();
  std::array<std::byte, 32> in{};
  const auto got = co_await read(from, in);
  if (!got) co_return got.failure();
  co_return *got;
}

task<void> sleep_twice(loop& on, std::vector<nanos>& woke) {
  const auto first = co_await sleep_for(std::chrono::seconds(5));
  if (!first) co_return first.failure();
  woke.push_back(on.now_nanos());
  const auto second = co_await sleep_for(std::chrono::hours(1));
  if (!second) co_return second.failure();
  woke.push_back(on.now_nanos());
  co_return ok;
}

task<int> receive_all(mailbox<int>& box) {
  int sum = 0;
  for (;;) {
    const auto item = co_await box.receive();
    if (!item) break;
    sum += *item;
  }
  co_return sum;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(loop)

BOOST_AUTO_TEST_CASE(runs_tasks) {
  const auto on = make_loop();
  auto sum = on->run(add());
  BOOST_REQUIRE(sum.has_value());
  BOOST_TEST(*sum == 84);
  auto failed = on->run(hand_on());
  BOOST_REQUIRE(failed.is_error());
  BOOST_TEST(failed.error().message == "no");
  auto empty = on->run(nothing());
  BOOST_TEST(empty.has_value());
}

BOOST_AUTO_TEST_CASE(moves_bytes) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  auto moved = on->run(through_pipe(from.get(), to.get()));
  BOOST_REQUIRE(moved.has_value());
  BOOST_TEST(*moved == 16U);
}

BOOST_AUTO_TEST_CASE(manual_time_jumps) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  const nanos start = clock.now_nanos();
  std::vector<nanos> woke;
  auto slept = on->run(sleep_twice(*on, woke));
  BOOST_TEST(slept.has_value());
  BOOST_REQUIRE(woke.size() == 2U);
  BOOST_TEST(woke[0] - start == 5'000'000'000);
  BOOST_TEST(woke[1] - start == 3'605'000'000'000);
}

BOOST_AUTO_TEST_CASE(posts_reach_a_sleeping_loop) {
  const auto on = make_loop();
  mailbox<int> box;
  std::vector<std::thread> senders;
  for (int sender = 0; sender < 4; ++sender) {
    senders.emplace_back([&box] {
      for (int item = 1; item <= 1000; ++item) static_cast<void>(box.post(item));
    });
  }
  std::thread closer([&] {
    for (auto& sender : senders) sender.join();
    box.close();
  });
  auto sum = on->run(receive_all(box));
  closer.join();
  BOOST_REQUIRE(sum.has_value());
  BOOST_TEST(*sum == 4 * 500500);
  BOOST_TEST(on->counters().lost_wakes == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
