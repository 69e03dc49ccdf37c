#include "engine/timer_heap.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <deque>
#include <random>

using namespace floe::engine;

namespace {
struct node : detail::timer_node {
  node() : timer_node([](timer_node&) {}) {}
  nanos at = 0;
};
}  // namespace

BOOST_AUTO_TEST_SUITE(timer_heap)

BOOST_AUTO_TEST_CASE(fires_in_order_of_time_then_of_setting) {
  detail::timer_heap heap;
  node a, b, c, d;
  heap.insert(a, 30);
  heap.insert(b, 10);
  heap.insert(c, 10);
  heap.insert(d, 20);
  BOOST_TEST(heap.next() == 10);
  BOOST_TEST(&heap.pop() == &b);
  BOOST_TEST(&heap.pop() == &c);
  BOOST_TEST(&heap.pop() == &d);
  BOOST_TEST(&heap.pop() == &a);
  BOOST_TEST(heap.next() == kNever);
  BOOST_TEST(!a.pending());
}

BOOST_AUTO_TEST_CASE(any_timer_can_be_taken_out) {
  std::mt19937 random(3);
  detail::timer_heap heap;
  std::deque<node> nodes(2000);
  for (node& one : nodes) {
    one.at = static_cast<nanos>(random() % 1000);
    heap.insert(one, one.at);
  }
  std::size_t left = nodes.size();
  for (node& one : nodes) {
    if (random() % 3 != 0) continue;
    heap.remove(one);
    --left;
    BOOST_REQUIRE(!one.pending());
  }
  BOOST_TEST(heap.size() == left);
  nanos last = 0;
  for (; left != 0; --left) {
    const nanos next = heap.next();
    auto& fired = static_cast<node&>(heap.pop());
    BOOST_REQUIRE(fired.at == next);
    BOOST_REQUIRE(next >= last);
    last = next;
  }
  BOOST_TEST(heap.empty());
}

BOOST_AUTO_TEST_SUITE_END()
