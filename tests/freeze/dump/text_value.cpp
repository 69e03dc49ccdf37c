#include "freeze/dump/text_value.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/freeze/dump/values.hpp"

using namespace floe::freeze::dump;
using namespace floe::freeze::dump::test;

BOOST_AUTO_TEST_SUITE(text_value)

BOOST_AUTO_TEST_CASE(numbers_and_names) {
  BOOST_TEST(to_text(i32(-5)) == "-5");
  BOOST_TEST(to_text(u64(~0ull)) == "18446744073709551615");
  BOOST_TEST(to_text(boolean(true)) == "true");
  BOOST_TEST(to_text(value_of(render::Char{'c'})) == "'c'");
  BOOST_TEST(to_text(value_of(render::Char{7})) == "0x07");
  BOOST_TEST(to_text(value_of(render::Float{64, 0.5})) == "0.5");
  BOOST_TEST(to_text(value_of(render::Enum{32, 2, "TWO", false})) == "TWO (2)");
  BOOST_TEST(to_text(value_of(render::Enum{32, -2, {}, true})) == "-2");
  BOOST_TEST(to_text(value_of(render::Enum{64, -1, {}, false})) == "18446744073709551615");
  BOOST_TEST(to_text(value_of(render::CpuList{"0-3,8"})) == "cpus=0-3,8");
  BOOST_TEST(to_text(value_of(render::Bytes{{std::byte{0x0a}, std::byte{0xff}}})) == "0a ff");
  BOOST_TEST(to_text(value_of(render::Unsupported{"why"})) == "<unsupported: why>");
}

BOOST_AUTO_TEST_CASE(pointers) {
  BOOST_TEST(to_text(pointer(0x1000)) == "0x1000");
  BOOST_TEST(to_text(value_of(render::Ptr{0x1000, std::make_unique<Value>(u64(7)), {}, "cast→arena"})) == "0x1000 (cast→arena) → 7");
  BOOST_TEST(to_text(value_of(render::Ptr{0x10, nullptr, "cycle → 0x10", {}})) == "0x10 [cycle]");
  BOOST_TEST(to_text(value_of(render::Ptr{0x10, nullptr, "unreadable", {}})) == "0x10 [chase: unreadable]");
}

BOOST_AUTO_TEST_CASE(less_bytes_than_the_type_needs) {
  BOOST_TEST(to_text(value_of(render::Truncated{8, 4, std::make_unique<Value>(u64(1))})) == "<truncated needed=8 had=4> 1");
  BOOST_TEST(to_text(value_of(render::Truncated{8, 0, std::make_unique<Value>(u64(1))})) == "");
}

BOOST_AUTO_TEST_CASE(a_struct_on_one_line_without_its_zeros) {
  BOOST_TEST(to_text(record("ctx", "a", u64(1), "zero", u64(0), "b", i32(-2), "none", pointer(0), "deep", record("s", "x", u64(0)))) ==
             "ctx{a=1, b=-2}");
  BOOST_TEST(to_text(record("ctx", "zero", u64(0))) == "ctx{}");
  BOOST_TEST(to_text(record("", "a", u64(1))) == "<anon>{a=1}");
  BOOST_TEST(to_text(record("ctx", "in", record("inner", "x", u64(3)))) == "ctx{in=inner{x=3}}");
}

BOOST_AUTO_TEST_CASE(what_is_unreadable_is_no_zero) {
  BOOST_TEST(to_text(record("c", "a", value_of(render::Bytes{{std::byte{0}}}), "b", value_of(render::Unsupported{"x"}))) ==
             "c{a=00, b=<unsupported: x>}");
}

BOOST_AUTO_TEST_CASE(formats_of_printk_are_hidden) {
  BOOST_TEST(to_text(record(".rodata", "main.____fmt", text("x=%d", 5), "____fmt_number", u64(4))) == ".rodata{____fmt_number=4}");
}

BOOST_AUTO_TEST_CASE(nameless_members_are_spliced_in) {
  BOOST_TEST(to_text(record("c", "a", u64(1), "", record("", "b", u64(2), "", record("", "c", u64(3))))) == "c{a=1, b=2, c=3}");
}

BOOST_AUTO_TEST_CASE(a_union_arm_that_repeats_its_siblings_is_hidden) {
  BOOST_TEST(to_text(record("c", "a", u64(17), "", record("", "raw", u64(17)))) == "c{a=17}");
  BOOST_TEST(to_text(record("c", "in", record("s", "x", u64(17)), "", record("", "raw", u64(17)))) == "c{in=s{x=17}}");
  BOOST_TEST(to_text(record("c", "a", u64(17), "", record("", "raw", u64(18)))) == "c{a=17, raw=18}");
}

BOOST_AUTO_TEST_CASE(a_long_struct_takes_several_lines) {
  const std::string wide = "a_rather_long_name_of_a_member_of_it_";
  const auto big = [&](std::string n) { return wide + n; };
  BOOST_TEST(to_text(record("c", big("1"), u64(1), big("2"), u64(2), big("3"), u64(3), big("4"), u64(4), "in", record("s", "x", u64(5)))) ==
             "c:\n"
             "  a_rather_long_name_of_a_member_of_it_1=1   a_rather_long_name_of_a_member_of_it_2=2   "
             "a_rather_long_name_of_a_member_of_it_3=3\n"
             "  a_rather_long_name_of_a_member_of_it_4=4\n"
             "  in s{x=5}");
}

// Each level tries whether it fits on one line: if that cost as much as the lines themselves, the effort would double with each.
BOOST_AUTO_TEST_CASE(deep_values_take_no_longer_than_their_size) {
  Value chain = text("the end of the list", 32);
  for (int i = 0; i < 60; ++i) {
    if (i % 3 == 0) chain = array(u64(0), std::move(chain));
    Value next = value_of(render::Ptr{0x1000, std::make_unique<Value>(std::move(chain)), {}, {}});
    if (i % 3 == 1) next = value_of(render::Truncated{8, 4, std::make_unique<Value>(std::move(next))});
    chain = record("node", "next", std::move(next), "number", u64(7));
  }
  const std::string shown = to_text(chain);
  BOOST_TEST(shown.find("the end of the list") == shown.rfind("the end of the list"));
  BOOST_TEST(shown.find("the end of the list") != shown.npos);
  BOOST_TEST(std::count(shown.begin(), shown.end(), '7') == 60);
}

BOOST_AUTO_TEST_CASE(columns_of_uneven_names_are_aligned) {
  const auto value = [] { return u64(1'000'000'000'000'000); };
  BOOST_TEST(to_text(record("c", "ab", value(), "x1", value(), "y1", value(), "abcdef", value(), "x2", value(), "y2", value(), "abc",
                            value(), "x3", value()),
                     1) ==
             "c:\n"
             "    ab     = 1000000000000000   x1=1000000000000000   y1=1000000000000000\n"
             "    abcdef = 1000000000000000   x2=1000000000000000   y2=1000000000000000\n"
             "    abc    = 1000000000000000   x3=1000000000000000");
}

BOOST_AUTO_TEST_CASE(arrays_of_characters) {
  BOOST_TEST(to_text(text("hello", 16)) == "\"hello\"");
  BOOST_TEST(to_text(array(u8('h'), u8('i'), u8(0))) == "\"hi\"");
  BOOST_TEST(to_text(text("two\nlines\n", 12), 1) == "|\n    two\n    lines");
  BOOST_TEST(to_text(array(u8(0), u8('i'))) == "[1]=105");
  BOOST_TEST(to_text(array(u8('a'), u8(1))) == "[97, 1]");
  BOOST_TEST(to_text(array(u8('a'))) == "[97]");
}

BOOST_AUTO_TEST_CASE(arrays_of_numbers) {
  BOOST_TEST(to_text(array()) == "[]");
  BOOST_TEST(to_text(array(i32(0), i32(0))) == "[all 2 zero]");
  BOOST_TEST(to_text(array(i32(1), i32(-2))) == "[1, -2]");
  BOOST_TEST(to_text(array(u64(255), u64(16))) == "[0xff, 0x10]");
  BOOST_TEST(to_text(array(u16(255), u16(16))) == "[255, 16]");
  BOOST_TEST(to_text(array(i32(0), i32(5), i32(0), i32(6), i32(7), i32(0))) == "[1]=5  [3..4]={6, 7}");
  Value cut = array(i32(1), i32(2));
  std::get<render::Array>(cut.v).len = 9;
  BOOST_TEST(to_text(cut) == "[1, 2] /* 2 of 9 shown */");
}

BOOST_AUTO_TEST_CASE(long_arrays_wrap) {
  render::Array numbers;
  for (int i = 0; i < 40; ++i) numbers.elements.push_back(i32(1000 + i));
  numbers.len = 40;
  const std::string shown = to_text(value_of(std::move(numbers)));
  BOOST_TEST(shown ==
             "[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019,\n"
             "  1020, 1021, 1022, 1023, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1037, 1038,\n"
             "  1039]");
}

BOOST_AUTO_TEST_CASE(arrays_of_structs) {
  const auto at = [](std::uint64_t x) { return record("s", "x", u64(x), "y", array(u64(x))); };
  BOOST_TEST(to_text(array(at(0), at(0))) == "[all 2 zero]");
  BOOST_TEST(to_text(array(at(1), at(1), at(0), at(2))) ==
             "[4]:\n"
             "  [0-1] s{x=1, y=[0x1]}\n"
             "  [3] s{x=2, y=[0x2]}");
}

BOOST_AUTO_TEST_CASE(neighbours_that_differ_little_share_a_template) {
  const auto at = [](std::uint64_t x, std::uint64_t z) { return record("s", "x", u64(x), "common", u64(7), "z", u64(z)); };
  BOOST_TEST(to_text(array(at(1, 5), at(2, 5), at(2, 5), at(300, 5), at(0, 0)), 1) ==
             "[5]:\n"
             "    [0-4] s{common=7}\n"
             "      idx |   x | z\n"
             "        0 |   1 | 5\n"
             "      1-2 |   2 | 5\n"
             "        3 | 300 | 5\n"
             "        4 |   0 | 0");
}

BOOST_AUTO_TEST_CASE(no_control_character_reaches_a_terminal) {
  BOOST_TEST(to_text(value_of(render::Unsupported{"a\x1b[2J\n\xc2\x9b\xff"})) == "<unsupported: a?[2J??\xef\xbf\xbd>");
}

BOOST_AUTO_TEST_SUITE_END()
