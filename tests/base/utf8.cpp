#include "base/utf8.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe;

BOOST_AUTO_TEST_SUITE(utf8)

BOOST_AUTO_TEST_CASE(sequences_have_the_lengths_of_the_standard) {
  BOOST_TEST(utf8_length("") == 0u);
  BOOST_TEST(utf8_length("a") == 1u);
  BOOST_TEST(utf8_length("\xc3\xbc") == 2u);
  BOOST_TEST(utf8_length("\xe2\x86\x92") == 3u);
  BOOST_TEST(utf8_length("\xf0\x9f\x90\x9f") == 4u);
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80", "\xff"})
    BOOST_TEST(utf8_length(bad) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
