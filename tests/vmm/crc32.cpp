#include "base/crc32.hpp"

#include <boost/test/unit_test.hpp>
#include <string_view>

namespace checks {  // the suite's name is a function of zlib's and of floe's outside of here
namespace {

std::uint32_t of(std::string_view text, std::uint32_t before = 0) {
  return floe::crc32(std::as_bytes(std::span(text)), before);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(crc32)

BOOST_AUTO_TEST_CASE(check_values) {
  BOOST_TEST(floe::crc32({}) == 0U);
  BOOST_TEST(of("123456789") == 0xcbf43926U);
}

BOOST_AUTO_TEST_CASE(continues_where_it_stopped) {
  BOOST_TEST(of("56789", of("1234")) == 0xcbf43926U);
  BOOST_TEST(floe::crc32({}, 0x1234U) == 0x1234U);
}

BOOST_AUTO_TEST_CASE(suffix_from_two_prefixes) {
  for (std::size_t cut = 0; cut <= 9; ++cut) {
    const std::string_view text = "123456789";
    BOOST_TEST(floe::crc32_suffix(of(text.substr(0, cut)), of(text), 9 - cut) == of(text.substr(cut)));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace checks
