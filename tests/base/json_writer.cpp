#include "base/json_writer.hpp"

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "base/utf8.hpp"

using namespace floe;

namespace {

std::string string_text(std::string_view bytes) {
  JsonWriter json;
  json.string(bytes);
  return std::move(json).take();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(json_writer)

BOOST_AUTO_TEST_CASE(commas_stand_between_values_and_nowhere_else) {
  JsonWriter json;
  json.begin_object().key("a").number(1).key("b").begin_array().end_array().key("c").begin_array();
  json.number(1u).begin_object().end_object().begin_array().null().end_array().boolean(true).boolean(false).end_array();
  json.key("d").begin_object().key("e").string("x").end_object().key("f").raw("[1,2]").end_object();
  BOOST_TEST(json.view() == R"({"a":1,"b":[],"c":[1,{},[null],true,false],"d":{"e":"x"},"f":[1,2]})");
}

BOOST_AUTO_TEST_CASE(integers_keep_all_their_bits_and_what_is_not_finite_is_null) {
  JsonWriter json;
  json.begin_array().number(std::numeric_limits<std::uint64_t>::max()).number(std::numeric_limits<std::int64_t>::min());
  json.number(0.1).number(-2.5e300).number(std::nan("")).number(std::numeric_limits<double>::infinity()).end_array();
  BOOST_TEST(json.view() == "[18446744073709551615,-9223372036854775808,0.1,-2.5e+300,null,null]");
}

BOOST_AUTO_TEST_CASE(strings_are_escaped_and_made_text) {
  BOOST_TEST(string_text("") == R"("")");
  BOOST_TEST(string_text({}) == R"("")");
  BOOST_TEST(string_text("a \"quoted\" back\\slash") == R"("a \"quoted\" back\\slash")");
  BOOST_TEST(string_text("tab\tline\nbell\x07"
                         "end\x7f") == "\"tab\\tline\\nbell\\u0007end\x7f\"");
  BOOST_TEST(string_text(std::string_view("a\0b", 3)) == R"("a\u0000b")");
  BOOST_TEST(string_text("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9f") == "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9f\"");
  BOOST_TEST(string_text("cut \xc3") == "\"cut \xef\xbf\xbd\"");
  BOOST_TEST(string_text("\xff\xfe") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
  BOOST_TEST(string_text("\xed\xa0\x80") == "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");  // a surrogate
  BOOST_TEST(string_text("\xc0\xaf") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");                  // an overlong slash
}

// Every position of every kind of byte, for strings are looked at eight bytes at a time.
BOOST_AUTO_TEST_CASE(a_parser_reads_back_what_was_written) {
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 40, 'x');
    for (auto& c : text)
      if (random() % 4 == 0) c = static_cast<char>(random() % 128);
    JsonWriter json;
    json.begin_object().key(text).string(text).end_object();
    const auto parsed = boost::json::parse(json.view());
    BOOST_REQUIRE(parsed.as_object().size() == 1);
    BOOST_REQUIRE(parsed.as_object().begin()->key() == text);
    BOOST_REQUIRE(parsed.as_object().begin()->value().as_string() == text);
  }
  for (int round = 0; round < 3000; ++round) {
    std::string bytes(random() % 30, '\0');
    for (auto& c : bytes) c = static_cast<char>(random());
    BOOST_REQUIRE(boost::json::parse(string_text(bytes)).is_string());
  }
}

BOOST_AUTO_TEST_CASE(hex_has_a_space_between_bytes) {
  const std::array bytes{std::byte{0}, std::byte{0x0a}, std::byte{0xff}};
  JsonWriter json;
  json.begin_array().hex(bytes).hex({}).hex(std::span(bytes).first(1)).end_array();
  BOOST_TEST(json.view() == R"(["00 0a ff","","00"])");
}

BOOST_AUTO_TEST_CASE(text_grows_and_is_handed_over_once) {
  JsonWriter json;
  json.begin_array();
  for (int i = 0; i < 100'000; ++i) json.number(i);
  json.end_array();
  const std::string text = std::move(json).take();
  BOOST_TEST(text.ends_with(",99998,99999]"));
  BOOST_TEST(boost::json::parse(text).as_array().size() == 100'000u);
  BOOST_TEST(json.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_drain_gets_the_same_text_in_pieces) {
  std::string drained;
  std::size_t pieces = 0, largest = 0;
  JsonWriter kept, handed_on([&](std::string_view piece) {
    drained += piece;
    ++pieces;
    largest = std::max(largest, piece.size());
  });
  const std::string long_text(3 * JsonWriter::kPieceBytes, 'x');
  for (auto* const json : {&kept, &handed_on}) {
    json->begin_array();
    for (int i = 0; i < 100'000; ++i) json->number(i * 12'345);
    json->string(long_text).string("\x01" + long_text).hex(std::as_bytes(std::span(long_text))).end_array();
  }
  BOOST_TEST(handed_on.size() == kept.size());
  handed_on.flush();
  handed_on.flush();
  BOOST_TEST((drained == kept.view()));
  BOOST_TEST(handed_on.size() == kept.size());
  BOOST_TEST(handed_on.view().empty());
  BOOST_TEST(pieces > 8u);
  BOOST_TEST(largest < 4 * long_text.size());
}

BOOST_AUTO_TEST_CASE(numbers_have_all_their_digits) {
  const auto written = [](auto value) {
    JsonWriter json;
    json.number(value);
    return std::move(json).take();
  };
  std::uint64_t power = 1;
  for (int digits = 1; digits <= 20; ++digits, power *= 10)
    for (const std::uint64_t value : {power - 1, power, power + 1, power * 9, 0 - power}) {
      BOOST_REQUIRE(written(value) == std::to_string(value));
      BOOST_REQUIRE(written(static_cast<std::int64_t>(value)) == std::to_string(static_cast<std::int64_t>(value)));
    }
  for (int bit = 0; bit < 64; ++bit) BOOST_REQUIRE(written(std::uint64_t{1} << bit) == std::to_string(std::uint64_t{1} << bit));
  std::mt19937_64 random(5);
  for (int round = 0; round < 100'000; ++round) {
    const std::uint64_t value = random() >> random() % 64;
    BOOST_REQUIRE(written(value) == std::to_string(value));
  }
  BOOST_TEST(written(std::int8_t{-128}) == "-128");
  BOOST_TEST(written(std::uint8_t{255}) == "255");
}

BOOST_AUTO_TEST_SUITE_END()
