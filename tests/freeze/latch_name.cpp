#include "freeze/latch_name.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe::freeze;

BOOST_AUTO_TEST_SUITE(latch_name)

BOOST_AUTO_TEST_CASE(it_is_a_map_a_variable_and_from_which_value_on) {
  const auto plain = parse_latch("probe_bp.bss:error_latch").value();
  BOOST_TEST(plain.map == "probe_bp.bss");
  BOOST_TEST(plain.variable == "error_latch");
  BOOST_TEST(plain.at_least == 1u);
  BOOST_TEST(parse_latch("m:v:4294967295").value().at_least == 0xffffffffu);
}

BOOST_AUTO_TEST_CASE(anything_else_is_refused_and_says_why) {
  for (const char* text : {"", "map", ":v", "m:", "m::1", "m:v:", "m:v:0", "m:v:-1", "m:v:1x", "m:v:4294967296", "m:v:1:2"}) {
    const auto latch = parse_latch(text);
    BOOST_TEST(!latch.has_value(), text);
    if (!latch) BOOST_TEST(latch.error().message.find(std::string("'") + text + "'") == 0u);
  }
  BOOST_TEST(parse_latch("longer_than_15_b:v").error().message.find("15 bytes") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
