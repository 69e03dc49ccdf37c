#include "freeze/periodic.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

namespace {

std::vector<std::int64_t> at(Nanoseconds start, Nanoseconds end, std::size_t count) {
  std::vector<std::int64_t> result;
  for (const auto boundary : periodic_boundaries(start, end, count)) result.push_back(boundary.count());
  return result;
}

using List = std::vector<std::int64_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(periodic)

BOOST_AUTO_TEST_CASE(boundaries_are_spread_evenly_with_a_tenth_free_at_either_end) {
  BOOST_TEST(at(0s, 10s, 1) == List({5'000'000'000}), boost::test_tools::per_element());
  BOOST_TEST(at(0s, 10s, 3) == List({3'000'000'000, 5'000'000'000, 7'000'000'000}), boost::test_tools::per_element());
  BOOST_TEST(at(2s, 12s, 1) == List({7'000'000'000}), boost::test_tools::per_element());
  BOOST_TEST(at(0s, 1'000'000'001ns, 3) == List({300'000'000, 500'000'000, 700'000'000}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(there_are_none_without_room) {
  BOOST_TEST(at(0s, 10s, 0).empty());
  BOOST_TEST(at(5s, 5s, 1).empty());
  BOOST_TEST(at(6s, 5s, 1).empty());
  BOOST_TEST(at(0s, 3ns, 3).empty());       // 3 ns within, 4 needed
  BOOST_TEST(at(0s, 4ns, 3).size() == 3u);  // just enough
}

BOOST_AUTO_TEST_CASE(a_window_of_centuries_does_not_overflow) {
  const auto boundaries = at(0s, Nanoseconds::max(), 64);
  BOOST_REQUIRE(boundaries.size() == 64u);
  for (std::size_t i = 1; i < boundaries.size(); ++i) BOOST_TEST(boundaries[i] > boundaries[i - 1]);
}

BOOST_AUTO_TEST_CASE(late_readiness_takes_from_the_front_only) {
  const auto window = periodic_window(2s, std::nullopt, 10s, 4s);
  BOOST_REQUIRE(window);
  BOOST_TEST((window->anchor == 2s && window->start == 4s && window->end == 12s));
  BOOST_TEST((periodic_window(2s, std::nullopt, 10s, 1s)->start == 2s));
  // Ready when it is over: no boundary, no window upside down.
  const auto late = periodic_window(2s, std::nullopt, 10s, 13s);
  BOOST_REQUIRE(late);
  const PeriodicCaptures none(*late, 5);
  BOOST_TEST(none.count() == 0u);
  BOOST_TEST(none.over());
  BOOST_TEST(!none.due(100s));
}

BOOST_AUTO_TEST_CASE(without_an_anchor_it_is_put_off) {
  BOOST_TEST(!periodic_window(std::nullopt, std::nullopt, 10s, 0s));
  BOOST_TEST(!periodic_window(std::nullopt, 9s, 10s, 0s));  // would begin before the run
  BOOST_TEST((periodic_window(std::nullopt, 12s, 10s, 0s)->anchor == 2s));
  BOOST_TEST((periodic_window(3s, 12s, 10s, 0s)->anchor == 3s));
}

BOOST_AUTO_TEST_CASE(offsets_are_told_from_the_anchor) {
  PeriodicCaptures captures({.anchor = 2s, .start = 4s, .end = 14s}, 1);
  BOOST_TEST(captures.offset_ms(0) == 7000u);  // the boundary is at 9 s
  BOOST_TEST(!captures.due(6'999ms));
  BOOST_TEST(captures.due(7s).value() == 0u);
}

BOOST_AUTO_TEST_CASE(a_capture_stays_due_until_it_was_tried) {
  PeriodicCaptures captures({.anchor = 0s, .start = 0s, .end = 10s}, 3);
  BOOST_TEST(captures.due(6s).value() == 0u);
  BOOST_TEST(captures.due(6s).value() == 0u);
  captures.done(PeriodicCaptures::Outcome::captured);
  BOOST_TEST(captures.due(6s).value() == 1u);
  captures.done(PeriodicCaptures::Outcome::captured);
  BOOST_TEST(!captures.due(6s));
  BOOST_TEST(captures.fired() == 2u);
  BOOST_TEST(!captures.over());
}

BOOST_AUTO_TEST_CASE(two_degraded_ones_in_a_row_end_it) {
  using enum PeriodicCaptures::Outcome;
  const PeriodicWindow window{.anchor = 0s, .start = 0s, .end = 100s};
  PeriodicCaptures captures(window, 8);
  for (const auto outcome : {degraded, captured, degraded}) captures.done(outcome);
  BOOST_TEST(!captures.abandoned());
  captures.done(suppressed);  // neither
  BOOST_TEST(captures.due(100s).value() == 4u);
  captures.done(degraded);
  BOOST_TEST(captures.abandoned());
  BOOST_TEST(!captures.due(100s));
  BOOST_TEST(captures.fired() == 5u);
  captures.done(captured);  // of one that was never due
  BOOST_TEST(captures.fired() == 5u);
}

BOOST_AUTO_TEST_CASE(at_most_64_at_least_100_ms_apart) {
  BOOST_TEST(PeriodicCaptures({.anchor = 0s, .start = 0s, .end = 1000s}, 1000).count() == 64u);
  BOOST_TEST(!check_periodic(65, 1000s));
  BOOST_TEST(check_periodic(64, 1000s).has_value());
  BOOST_TEST(check_periodic(0, 0s).has_value());
  BOOST_TEST(check_periodic(3, 500ms).has_value());  // 400 ms within, 100 apart
  BOOST_TEST(!check_periodic(3, 499ms));
}

BOOST_AUTO_TEST_CASE(tags_have_three_digits) {
  BOOST_TEST(periodic_tag(0) == "periodic_000");
  BOOST_TEST(periodic_tag(63) == "periodic_063");
}

BOOST_AUTO_TEST_CASE(a_pause_holds_the_clock) {
  WorkloadClock clock(10s);
  BOOST_TEST((clock.elapsed(9s) == 0s));  // before the anchor
  BOOST_TEST((clock.elapsed(15s) == 5s));
  clock.pause(15s);
  clock.pause(16s);
  BOOST_TEST((clock.elapsed(20s) == 5s));
  clock.resume(21s);
  clock.resume(22s);
  BOOST_TEST((clock.elapsed(22s) == 6s));
}

BOOST_AUTO_TEST_CASE(the_guests_own_account_counts_until_it_is_stale) {
  WorkloadClock clock(0s);
  clock.heartbeat(1s, 3s);  // a slow host: 3 s for 1 s of the guest
  BOOST_TEST((clock.elapsed(3s) == 1s));
  BOOST_TEST((clock.elapsed(7s) == 1s));  // 4 s without news are not yet stale
  BOOST_TEST((clock.elapsed(7'001ms) == 5'001ms));
  clock.heartbeat(1s, 8s);  // no news
  BOOST_TEST((clock.elapsed(8s) == 6s));
  clock.heartbeat(2s, 9s);
  BOOST_TEST((clock.elapsed(10s) == 2s));
  clock.heartbeat(1s, 10s);  // backwards
  BOOST_TEST((clock.elapsed(10s) == 2s));
}

BOOST_AUTO_TEST_CASE(nothing_gets_stale_during_a_pause) {
  WorkloadClock clock(0s);
  clock.heartbeat(2s, 2s);
  clock.pause(3s);
  clock.heartbeat(9s, 12s);
  BOOST_TEST((clock.elapsed(100s) == 2s));
  clock.resume(100s);
  BOOST_TEST((clock.elapsed(103s) == 2s));
  BOOST_TEST((clock.elapsed(104s) == 7s));  // 5 s since the last account, of which 1 before the pause
}

BOOST_AUTO_TEST_SUITE_END()
