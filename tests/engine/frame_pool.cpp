#include "engine/frame_pool.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

using floe::engine::frame_pool_counters;

BOOST_AUTO_TEST_SUITE(frame_pool)

using pool = floe::engine::frame_pool;

BOOST_AUTO_TEST_CASE(reuses_a_frame_of_the_same_class) {
  void* const first = pool::allocate(100);
  std::memset(first, 1, 100);
  pool::release(first, 100);
  const auto misses = pool::counters().misses;
  void* const second = pool::allocate(128);
  BOOST_TEST(second == first);
  BOOST_TEST(pool::counters().misses == misses);
  pool::release(second, 128);
}

// Whatever the order in which they come back, no frame is handed out twice, and each that is free is counted.
BOOST_AUTO_TEST_CASE(frames_in_use_are_distinct_in_any_order) {
  constexpr std::size_t kBytes = 900, kMost = 5;
  std::mt19937 random(3);
  std::vector<void*> held;
  for (std::size_t index = 0; index < kMost; ++index) held.push_back(pool::allocate(kBytes));
  for (void* const one : held) pool::release(one, kBytes);
  held.clear();
  const frame_pool_counters all_free = pool::counters();
  for (int step = 0; step < 10'000; ++step) {
    if (held.size() < kMost && random() % 2 == 0) {
      void* const one = pool::allocate(kBytes);
      BOOST_REQUIRE(std::find(held.begin(), held.end(), one) == held.end());
      held.push_back(one);
    } else if (!held.empty()) {
      const auto which = held.begin() + static_cast<std::ptrdiff_t>(random() % held.size());
      pool::release(*which, kBytes);
      held.erase(which);
    }
    BOOST_REQUIRE(pool::counters().cached_bytes == all_free.cached_bytes - held.size() * 960);
  }
  BOOST_TEST(pool::counters().misses == all_free.misses);
  for (void* const one : held) pool::release(one, kBytes);
}

BOOST_AUTO_TEST_CASE(large_frames_bypass_the_pool) {
  const auto before = pool::counters().oversize;
  void* const large = pool::allocate(pool::kLargest + 1);
  std::memset(large, 1, pool::kLargest + 1);
  pool::release(large, pool::kLargest + 1);
  BOOST_TEST(pool::counters().oversize == before + 1);
  void* const largest = pool::allocate(pool::kLargest);
  std::memset(largest, 1, pool::kLargest);
  pool::release(largest, pool::kLargest);
}

BOOST_AUTO_TEST_CASE(a_burst_does_not_keep_its_memory) {
  constexpr std::size_t kCount = pool::kCacheLimit / 2048 + 100;
  std::vector<void*> all;
  for (std::size_t index = 0; index < kCount; ++index) all.push_back(pool::allocate(2048));
  for (void* const one : all) pool::release(one, 2048);
  BOOST_TEST(pool::counters().cached_bytes <= pool::kCacheLimit);
}

BOOST_AUTO_TEST_CASE(frames_may_change_threads) {
  void* const here = pool::allocate(300);
  std::thread other([here] {
    pool::release(here, 300);
    void* const again = pool::allocate(300);
    BOOST_CHECK(again == here);
    pool::release(again, 300);
  });
  other.join();
}

// The pool still knows the address of a frame that another thread has given back to malloc, which may hand it out again.
BOOST_AUTO_TEST_CASE(a_frame_freed_elsewhere_is_not_handed_out_here) {
  void* const gone = pool::allocate(1500);
  pool::release(gone, 1500);
  BOOST_REQUIRE(pool::allocate(1500) == gone);
  std::thread([gone] { pool::release(gone, 1500); }).join();
  void* const next = pool::allocate(1500);
  std::memset(next, 1, 1500);
  void* const another = pool::allocate(1500);
  BOOST_TEST(another != next);
  pool::release(next, 1500);
  pool::release(another, 1500);
}

BOOST_AUTO_TEST_SUITE_END()
