#include "engine/mailbox.hpp"

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

struct item {
  int sender = 0;
  int number = 0;
};

task<int> in_order(engine::mailbox<item>& box, int senders) {
  std::vector<int> last(static_cast<std::size_t>(senders), -1);
  int count = 0;
  for (;;) {
    const auto got = co_await box.receive();
    if (!got) {
      BOOST_CHECK(got.is_error());
      BOOST_TEST(got.error().code == EPIPE);
      break;
    }
    int& before = last[static_cast<std::size_t>(got->sender)];
    if (got->number != before + 1) co_return fail("out of order");
    before = got->number;
    ++count;
  }
  co_return count;
}

task<int> receive_one(engine::mailbox<int>& box) {
  const auto got = co_await box.receive();
  if (!got) co_return got.failure();
  co_return *got;
}

task<int> count_all(engine::mailbox<int>& box, std::size_t& most) {
  int count = 0;
  for (;;) {
    const auto got = co_await box.receive();
    if (!got) break;
    ++count;
    most = std::max(most, box.size());
  }
  co_return count;
}

task<void> stop_a_receiver(engine::mailbox<int>& box) {
  auto limited = with_timeout(receive_one(box), 1s);
  const auto timed_out = co_await std::move(limited);
  BOOST_CHECK(timed_out.is_error());
  box.post(4);
  const auto got = co_await receive_one(box);
  BOOST_CHECK(got.has_value() && *got == 4);
  co_return ok;
}

task<int> echo(engine::mailbox<int>& in, engine::mailbox<int>& out) {
  for (;;) {
    const auto got = co_await in.receive();
    if (!got) co_return 0;
    out.post(*got + 1);
  }
}

task<int> ask(engine::mailbox<int>& out, engine::mailbox<int>& in, int rounds) {
  int value = 0;
  for (int round = 0; round < rounds; ++round) {
    out.post(value);
    const auto got = co_await in.receive();
    if (!got) co_return got.failure();
    value = *got;
  }
  out.close();
  co_return value;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(mailbox)

BOOST_AUTO_TEST_CASE(several_threads_each_in_its_order) {
  const auto on = make_loop();
  engine::mailbox<item> box;
  std::vector<std::thread> senders;
  for (int sender = 0; sender < 4; ++sender) {
    senders.emplace_back([&box, sender] {
      for (int number = 0; number < 20'000; ++number) box.post({sender, number});
    });
  }
  std::thread closer([&] {
    for (std::thread& sender : senders) sender.join();
    box.close();
  });
  auto count = on->run(in_order(box, 4));
  closer.join();
  BOOST_TEST(*count == 80'000);
  BOOST_TEST(box.posted() == 80'000U);
  BOOST_TEST(box.size() == 0U);
  BOOST_TEST(on->counters().lost_wakes == 0U);
}

// Every item crosses alone, so every post finds the other loop asleep or about to be: where a wake could get lost, it would.
BOOST_AUTO_TEST_CASE(two_loops_wake_each_other) {
  const auto here = make_loop();
  engine::mailbox<int> back;
  std::unique_ptr<engine::mailbox<int>> there_box;
  std::atomic<bool> made{false};
  std::thread other([&] {
    const auto there = make_loop();
    there_box = std::make_unique<engine::mailbox<int>>();
    made.store(true);
    made.notify_one();
    static_cast<void>(there->run(echo(*there_box, back)));
    BOOST_CHECK(there->counters().lost_wakes == 0);
  });
  made.wait(false);
  auto last = here->run(ask(*there_box, back, 2000));
  other.join();
  BOOST_TEST(*last == 2000);
  BOOST_TEST(here->counters().lost_wakes == 0U);
}

BOOST_AUTO_TEST_CASE(a_bound_refuses_and_counts) {
  const auto on = make_loop();
  engine::mailbox<int> box(2);
  BOOST_TEST(box.post(1));
  BOOST_TEST(box.post(2));
  BOOST_TEST(!box.post(3));
  BOOST_TEST(box.refused() == 1U);
  BOOST_TEST(*box.try_receive() == 1);
  BOOST_TEST(box.post(4));
  box.close();
  BOOST_TEST(!box.post(5));
  BOOST_TEST(*on->run(receive_one(box)) == 2);
  BOOST_TEST(*on->run(receive_one(box)) == 4);
  BOOST_TEST(on->run(receive_one(box)).is_error());
}

// Senders that race with the receiver for the last place: what is accepted arrives, what is not is counted, and never more is inside than
// may be.
BOOST_AUTO_TEST_CASE(a_bound_holds_against_several_threads) {
  constexpr int kEach = 20'000;
  const auto on = make_loop();
  engine::mailbox<int> box(8);
  std::atomic<int> accepted{0};
  std::vector<std::thread> senders;
  for (int sender = 0; sender < 3; ++sender) {
    senders.emplace_back([&box, &accepted] {
      for (int number = 0; number < kEach; ++number) accepted += box.post(number) ? 1 : 0;
    });
  }
  std::thread closer([&] {
    for (std::thread& sender : senders) sender.join();
    box.close();
  });
  std::size_t most = 0;
  const auto received = on->run(count_all(box, most));
  closer.join();
  BOOST_TEST(*received == accepted.load());
  BOOST_TEST(most <= 8U + 3U);  // a refusal in progress counts for a moment
  BOOST_TEST(box.posted() == static_cast<std::uint64_t>(accepted.load()));
  BOOST_TEST(box.posted() + box.refused() == 3U * kEach);
  BOOST_TEST(box.size() == 0U);
}

BOOST_AUTO_TEST_CASE(a_stopped_receiver_loses_nothing) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  engine::mailbox<int> box;
  BOOST_TEST(on->run(stop_a_receiver(box)).has_value());
}

BOOST_AUTO_TEST_CASE(items_left_inside_are_destroyed) {
  const auto counted = std::make_shared<int>(0);
  auto on = make_loop();
  {
    engine::mailbox<std::shared_ptr<int>> box;
    box.post(counted);
    box.post(counted);
    on.reset();  // the mailbox may outlive its loop
    box.post(counted);
    BOOST_TEST(counted.use_count() == 4);
  }
  BOOST_TEST(counted.use_count() == 1);
}

BOOST_AUTO_TEST_SUITE_END()
