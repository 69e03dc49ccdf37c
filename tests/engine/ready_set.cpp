// Order of ready tasks, on the set alone: no loop runs here, the promises are only nodes with a context.
#include "engine/ready_set.hpp"

#include <deque>
#include <random>

#include "tests/engine/fixture.hpp"

using namespace floe::engine;
using namespace floe::engine::testing;

namespace {

struct nodes {
  std::unique_ptr<loop> on = make_loop();
  std::deque<context> contexts;
  std::deque<detail::promise_base> promises;

  detail::promise_base& make(nanos deadline) {
    contexts.emplace_back(*on, deadline);
    promises.emplace_back();
    promises.back().ctx = &contexts.back();
    return promises.back();
  }
};

constexpr nanos kBucket = detail::ready_set::kBucketNanos;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(ready_set, nodes)

BOOST_AUTO_TEST_CASE(without_deadlines_first_come_first_served) {
  detail::ready_set set;
  std::vector<detail::promise_base*> order;
  for (int index = 0; index < 5; ++index) {
    order.push_back(&make(kNever));
    set.push(*order.back(), 0);
  }
  for (auto* const expected : order) BOOST_TEST(&set.pop() == expected);
  BOOST_TEST(set.empty());
}

BOOST_AUTO_TEST_CASE(earliest_deadline_first_near_and_far) {
  // In the calendar (4 ms), beyond it (seconds), and already late.
  const std::vector<nanos> deadlines = {3'000'000, 10'000'000'000, 200'000, 5'000'000, 4'999'999'999, 10};
  detail::ready_set set;
  const nanos now = 100'000;
  auto& patient = make(kNever);
  set.push(patient, now);
  for (const nanos deadline : deadlines) set.push(make(deadline), now);
  std::vector<nanos> seen;
  while (set.has_deadlines()) seen.push_back(set.pop().deadline());
  const std::vector<nanos> expected = {10, 200'000, 3'000'000, 5'000'000, 4'999'999'999, 10'000'000'000};
  BOOST_TEST(seen == expected, boost::test_tools::per_element());
  BOOST_TEST(&set.pop() == &patient);
}

BOOST_AUTO_TEST_CASE(counts_what_is_near_and_far_and_without_a_deadline) {
  detail::ready_set set;
  BOOST_TEST(set.size() == 0U);
  for (const nanos deadline : {nanos{200'000}, nanos{200'001}, nanos{3'000'000}, nanos{10'000'000'000}, kNever, kNever}) {
    const std::size_t before = set.size();
    set.push(make(deadline), 100'000);
    BOOST_TEST(set.size() == before + 1);
    BOOST_TEST(set.has_more_than(before));
    BOOST_TEST(!set.has_more_than(before + 1));
  }
  for (std::size_t left = 6; left != 0; --left) {
    BOOST_TEST(set.size() == left);
    BOOST_TEST(set.has_deadlines() == (left > 2));
    set.pop();
  }
  BOOST_TEST(set.empty());
}

BOOST_AUTO_TEST_CASE(random_deadlines_leave_in_order_of_bucket) {
  std::mt19937_64 random(7);
  detail::ready_set set;
  nanos now = 1'000'000'000;
  for (int round = 0; round < 50; ++round) {
    for (int index = 0; index < 40; ++index) set.push(make(now + static_cast<nanos>(random() % 20'000'000)), now);
    nanos last = 0;
    while (!set.empty()) {
      const nanos slot = set.pop().deadline() / kBucket;
      BOOST_REQUIRE(slot >= last);
      last = slot;
    }
    now += static_cast<nanos>(random() % 10'000'000);
  }
}

BOOST_AUTO_TEST_CASE(a_calendar_in_use_moves_on_with_time) {
  detail::ready_set set;
  set.push(make(63 * kBucket), 0);
  set.push(make(70 * kBucket), 60 * kBucket);  // the first still lies in the old window
  set.push(make(61 * kBucket), 60 * kBucket);
  BOOST_TEST(set.pop().deadline() == 61 * kBucket);
  BOOST_TEST(set.pop().deadline() == 63 * kBucket);
  BOOST_TEST(set.pop().deadline() == 70 * kBucket);
}

BOOST_AUTO_TEST_CASE(others_get_one_in_sixteen) {
  detail::ready_set set;
  auto& patient = make(kNever);
  set.push(patient, 0);
  for (int index = 0; index < 100; ++index) set.push(make(1'000'000), 0);
  int before = 0;
  while (&set.pop() != &patient) ++before;
  BOOST_TEST(before == 15);
  BOOST_TEST(set.aged() == 1U);
}

BOOST_AUTO_TEST_CASE(knows_whether_something_is_more_urgent) {
  detail::ready_set set;
  set.push(make(kNever), 0);
  BOOST_TEST(!set.has_earlier_than(kNever));
  set.push(make(1'000'000), 0);
  BOOST_TEST(set.has_earlier_than(kNever));
  BOOST_TEST(set.has_earlier_than(2'000'000));
  BOOST_TEST(!set.has_earlier_than(1'000'000));
  BOOST_TEST(!set.has_earlier_than(500'000));
}

BOOST_AUTO_TEST_SUITE_END()
