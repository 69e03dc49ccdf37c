#include <boost/test/unit_test.hpp>

#include "freeze/scenario/json.hpp"

using namespace floe::freeze::scenario;

namespace {

std::string error_of(std::string_view text) {
  const auto json = read_json(text);
  return json ? "none" : json.error().message;
}

bool begins(const std::string& text, std::string_view with) {
  return text.starts_with(with);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(scenario_json)

BOOST_AUTO_TEST_CASE(every_value_and_key_knows_its_place) {
  const auto json = read_json("\n{\"a\": 1,\n  \"b\": [true, null, \"x\"],\n  \"\u00e4\u00f6\": {\"c\": -2.5e3}}\n");
  BOOST_REQUIRE_MESSAGE(json.has_value(), json.error().message);
  BOOST_TEST((json->place == Place{2, 1}));
  BOOST_REQUIRE(json->members.size() == 3u);
  BOOST_TEST(json->members[0].key == "a");
  BOOST_TEST((json->members[0].place == Place{2, 2}));
  BOOST_TEST((json->members[0].value.place == Place{2, 7}));
  BOOST_TEST(json->members[0].value.text == "1");
  const Json& list = json->members[1].value;
  BOOST_TEST((list.place == Place{3, 8}));
  BOOST_REQUIRE(list.items.size() == 3u);
  BOOST_TEST(list.items[0].truth);
  BOOST_TEST((list.items[1].kind == Json::Kind::kNull));
  BOOST_TEST((list.items[2].place == Place{3, 21}));
  BOOST_TEST(list.items[2].text == "x");
  const Json& object = json->members[2].value;
  BOOST_TEST((object.place == Place{4, 9}), object.place.column);  // in characters, not bytes
  BOOST_TEST(object.members[0].value.text == "-2.5e3");
}

BOOST_AUTO_TEST_CASE(numbers_keep_what_was_written) {
  const auto json = read_json(R"({"n": [18446744073709551615 , -9223372036854775808,0.1]})");
  BOOST_REQUIRE(json.has_value());
  const auto& list = json->members[0].value.items;
  BOOST_TEST(list[0].text == "18446744073709551615");
  BOOST_TEST(list[1].text == "-9223372036854775808");
  BOOST_TEST(list[2].text == "0.1");
}

BOOST_AUTO_TEST_CASE(mistakes_are_told_with_their_place) {
  BOOST_TEST(begins(error_of("{\"a\": 1,\n \"a\": 2}"), "2:2: \"a\" stands twice"), error_of("{\"a\": 1,\n \"a\": 2}"));
  BOOST_TEST(begins(error_of("{\"a\":\n  tru}"), "2:3: "), error_of("{\"a\":\n  tru}"));
  BOOST_TEST(begins(error_of("{\"a\": 01}"), "1:7: "), error_of("{\"a\": 01}"));
  BOOST_TEST(begins(error_of("{\"a\": 1\n \"b\": 2}"), "2:2: "), error_of("{\"a\": 1\n \"b\": 2}"));
  BOOST_TEST(begins(error_of("{\"a\": [1, 2}"), "1:12: "), error_of("{\"a\": [1, 2}"));
  BOOST_TEST(begins(error_of("{\"a\": 1} x"), "1:10: something follows"), error_of("{\"a\": 1} x"));
  BOOST_TEST(begins(error_of("{\"a\": \"\xff\"}"), "1:8: this is no UTF-8"), error_of("{\"a\": \"\xff\"}"));
  BOOST_TEST(begins(error_of("  7"), "1:3: an object is expected"), error_of("  7"));
  BOOST_TEST(begins(error_of(std::string(100, '[')), "1:"), error_of(std::string(100, '[')));
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  BOOST_TEST(begins(error_of(deep), "1:65: more than 64 brackets"), error_of(deep));
  for (const char* text :
       {"", " \n", "{", "{\"a\"", "{\"a\":}", "{\"a\": \"x}", "{a: 1}", "[1,]", "{\"a\": 1,}", "{\"a\": nice}", "{\"a\": nul}", "[nice]"}) {
    BOOST_TEST(error_of(text) != "none", text);
    BOOST_TEST(error_of(text)[0] >= '1', error_of(text));
  }
}

BOOST_AUTO_TEST_SUITE_END()
