#include "base/duration.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(duration)

BOOST_AUTO_TEST_CASE(times_have_units_and_bad_ones_are_named) {
  BOOST_TEST((parse_duration("250ms").value() == 250ms));
  BOOST_TEST((parse_duration("30").value() == 30s));
  BOOST_TEST((parse_duration("1.5m").value() == 90s));
  for (const char* bad : {"", "soon", "3x", "-1s", "1e300s", "nan"}) {
    const auto result = parse_duration(bad);
    BOOST_REQUIRE(!result);
    BOOST_TEST(result.error().message.find(bad) != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(times_are_written_in_seconds_where_they_are_whole) {
  BOOST_TEST(format_duration(90s) == "90s");
  BOOST_TEST(format_duration(2500ms) == "2500ms");
}

BOOST_AUTO_TEST_SUITE_END()
