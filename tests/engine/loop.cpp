// The loop: a first task, real descriptors, timers on a manual clock, posts from threads.
#include "engine/loop.hpp"

#include <poll.h>

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

task<void> yield_once() {
  co_await yield();
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

task<void> hog(manual_clock& clock) {
  clock.advance(std::chrono::milliseconds(80));
  co_return ok;
}

task<void> one_hog(manual_clock& clock) {
  scope all("all");
  all.spawn(nothing(), "innocent");
  all.spawn(hog(clock), "hog");
  all.spawn(nothing(), "another");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.has_value());
  co_return ok;
}

task<void> best_effort(int& before, const bool& seen) {
  for (int round = 0; round < 20; ++round) {
    const auto did = co_await nop();
    BOOST_CHECK(did.has_value());
    if (!seen) ++before;
  }
  co_return ok;
}

task<void> note(bool& seen) {
  const auto did = co_await nop();
  BOOST_CHECK(did.has_value());
  seen = true;
  co_return ok;
}

// 256 operations complete at once; the one of a task with a deadline, submitted last, resumes first.
task<void> burst(floe::engine::loop& on, int& before) {
  bool seen = false;
  scope all("burst");
  for (int index = 0; index < 255; ++index) all.spawn(best_effort(before, seen), "patient");
  auto urgent = with_deadline(note(seen), on.now() + std::chrono::seconds(5));
  const auto done = co_await std::move(urgent);
  BOOST_CHECK(done.has_value());
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.has_value());
  co_return ok;
}

task<void> steady_nops(std::uint64_t& misses) {
  for (int round = 0; round < 5000; ++round) {
    if (round == 1000) misses = frame_pool::counters().misses;
    const auto did = co_await nop();
    BOOST_CHECK(did.has_value());
  }
  misses = frame_pool::counters().misses - misses;
  co_return ok;
}

task<void> hear_once(poll_stream& events) {
  const auto heard = co_await events.next();
  if (!heard) co_return heard.failure();
  co_return ok;
}

task<std::size_t> after_another_loop(int from, int to) {
  const auto other = make_loop();
  const auto sum = other->run(add());
  BOOST_REQUIRE(sum.has_value());
  const auto turn = co_await yield_once();
  BOOST_CHECK(turn.has_value());
  const auto moved = co_await through_pipe(from, to);
  if (!moved) co_return moved.failure();
  co_return *moved;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(loop)

BOOST_AUTO_TEST_CASE(names_the_task_that_held_it) {
  manual_clock clock;
  std::string named;
  loop_options options;
  options.clock = &clock;
  options.on_stall = [&named](const stall& seen) { named = std::string(seen.task) + " " + std::to_string(seen.held.count() / 1'000'000); };
  const auto on = make_loop(options);
  BOOST_TEST(on->run(one_hog(clock)).has_value());
  BOOST_TEST(named.find("hog") != std::string::npos);
  BOOST_TEST(named.find("80") != std::string::npos);
  BOOST_TEST(on->counters().stalls == 1U);
}

task<void> listen_and_leave(int fd) {
  auto events = poll_stream::open(fd, POLLIN);
  scope all("listeners");
  all.spawn(hear_once(events), "listener");
  const auto turn = co_await engine::nop();
  BOOST_CHECK(turn.has_value());
  all.request_stop();
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_cancelled());
  co_return ok;
}

// What a loop still has to hear of when it ends belongs to no task.
BOOST_AUTO_TEST_CASE(a_completion_without_a_task_is_nobodys_stall) {
  manual_clock clock;
  bool stalled = false;
  loop_options options;
  options.clock = &clock;
  options.on_stall = [&stalled](const stall&) { stalled = true; };
  const auto pipe = make_pipe();
  {
    const auto on = make_loop(options);
    BOOST_TEST(on->run(listen_and_leave(pipe.from.get())).has_value());
    clock.advance(std::chrono::milliseconds(80));
  }
  BOOST_TEST(!stalled);
}

BOOST_AUTO_TEST_CASE(a_deadline_passes_a_burst) {
  const auto on = make_loop();
  int before = 0;
  BOOST_TEST(on->run(burst(*on, before)).has_value());
  BOOST_TEST(before <= 64);
}

BOOST_AUTO_TEST_CASE(a_steady_loop_allocates_no_frame) {
  const auto on = make_loop();
  std::uint64_t misses = 1;
  BOOST_TEST(on->run(steady_nops(misses)).has_value());
  BOOST_TEST(misses == 0U);
  BOOST_TEST(!on->features().empty());
}

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

BOOST_AUTO_TEST_CASE(runs_inside_of_a_task_of_another_loop) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  auto moved = on->run(after_another_loop(from.get(), to.get()));
  BOOST_REQUIRE(moved.has_value());
  BOOST_TEST(*moved == 16U);
  BOOST_TEST(on->counters().operations == 2U);
  BOOST_TEST(engine::loop::running_here() == nullptr);
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
