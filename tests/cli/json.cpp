#include "cli/json.hpp"

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>

#include "cli/run_report.hpp"

using namespace floe::cli;

BOOST_AUTO_TEST_SUITE(json)

BOOST_AUTO_TEST_CASE(guest_bytes_become_valid_text) {
  BOOST_TEST(json_text("kworker/0:1") == "kworker/0:1");
  BOOST_TEST(json_text("\xc3\xa9") == "\xc3\xa9");
  const std::string replacement = "\xef\xbf\xbd";
  BOOST_TEST(json_text("a\xff\x62") == "a" + replacement + "b");
  BOOST_TEST(json_text("\xc0\x80") == replacement + replacement);                    // overlong
  BOOST_TEST(json_text("\xed\xa0\x80") == replacement + replacement + replacement);  // a surrogate
  BOOST_TEST(json_text("\xf0\x9f\x98") == replacement + replacement + replacement);  // cut short
  BOOST_TEST(printable("a\033[31mb\n") == "a?[31mb?");
}

BOOST_AUTO_TEST_CASE(pretty_is_the_same_document) {
  const boost::json::value value = {
      {"a", {1, 2, 3}}, {"b", {{"c", nullptr}, {"d", "x\"y"}}}, {"e", boost::json::array()}, {"f", boost::json::object()}};
  BOOST_TEST((boost::json::parse(pretty_json(value)) == value));
}

BOOST_AUTO_TEST_CASE(a_manifest_of_a_run_that_never_began_is_whole) {
  RunReport report;
  report.verdict = {Exit::kNoHello, "no \xff hello"};
  const auto manifest = boost::json::parse(to_json(report)).as_object();
  BOOST_TEST(manifest.at("exit").at("code").as_int64() == 7);
  BOOST_TEST(manifest.at("guest_exit").is_null());
  BOOST_TEST(manifest.at("freeze_us").at("p50").is_null());  // absent is not zero
}

BOOST_AUTO_TEST_CASE(percentiles_are_nearest_rank) {
  BOOST_TEST(percentile({}, 50) == 0u);
  BOOST_TEST(percentile({7}, 99) == 7u);
  BOOST_TEST(percentile({5, 1, 4, 2, 3}, 50) == 3u);
  BOOST_TEST(percentile({5, 1, 4, 2, 3}, 99) == 5u);
}

BOOST_AUTO_TEST_SUITE_END()
