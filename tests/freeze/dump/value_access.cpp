#include "freeze/dump/value_access.hpp"

#include <boost/test/unit_test.hpp>
#include <limits>

#include "tests/freeze/dump/values.hpp"

using namespace floe::freeze::dump;
using namespace floe::freeze::dump::test;

BOOST_AUTO_TEST_SUITE(value_access)

BOOST_AUTO_TEST_CASE(members_and_elements_through_pointers_and_what_was_cut_off) {
  const Value inner =
      value_of(render::Truncated{9, 8,
                                 std::make_unique<Value>(value_of(render::Ptr{
                                     1, std::make_unique<Value>(record("s", "a", array(i32(5), record("t", "b", u64(6))))), {}, {}}))});
  BOOST_REQUIRE(get(inner, "a.1.b") != nullptr);
  BOOST_TEST(*as_u64(*get(inner, "a.1.b")) == 6u);
  BOOST_TEST(get(inner, "") == &inner);
  for (const char* nowhere : {"a..b", ".a", "a.", "a.2", "b", "a.0.x", "a.-1"}) BOOST_TEST(get(inner, nowhere) == nullptr);
  const Value spliced = record("s", "", record("", "deep", u64(3)));
  BOOST_TEST(*as_u64(*member(spliced, "deep")) == 3u);
}

BOOST_AUTO_TEST_CASE(numbers_of_every_kind) {
  BOOST_TEST(*as_u64(u64(~0ull)) == ~0ull);
  BOOST_TEST(!as_u64(i32(-1)).has_value());
  BOOST_TEST(*as_u64(boolean(true)) == 1u);
  BOOST_TEST(*as_u64(pointer(7)) == 7u);
  BOOST_TEST(!as_u64(value_of(render::Enum{32, -1, {}, true})).has_value());
  BOOST_TEST(*as_u64(value_of(render::Enum{32, -1, {}, false})) == 0xffffffffu);
  BOOST_TEST(*as_i64(i32(-1)) == -1);
  BOOST_TEST(!as_i64(u64(~0ull)).has_value());
  BOOST_TEST(!as_i64(pointer(7)).has_value());
  BOOST_TEST(*as_f64(i32(-2)) == -2.0);
  BOOST_TEST(!as_f64(boolean(true)).has_value());
  BOOST_TEST(*as_bool(pointer(7)));
  BOOST_TEST(!*as_bool(i32(0)));
  BOOST_TEST(!as_bool(value_of(render::Bytes{})).has_value());
}

BOOST_AUTO_TEST_CASE(arrays_whole_or_not_at_all) {
  BOOST_TEST((*as_u64_array(array(u64(1), i32(2))) == std::vector<std::uint64_t>{1, 2}));
  BOOST_TEST(!as_u64_array(array(u64(1), i32(-2))).has_value());
  BOOST_TEST((*as_i32_array(array(i32(-2))) == std::vector<std::int32_t>{-2}));
  BOOST_TEST(!as_u32_array(array(u64(std::uint64_t{1} << 32))).has_value());
  BOOST_TEST(!as_f64_array(u64(1)).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
