#include "engine/frame_pool.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>
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

BOOST_AUTO_TEST_SUITE_END()
