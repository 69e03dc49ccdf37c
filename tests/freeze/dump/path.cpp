#include "freeze/dump/path.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe::freeze::dump;

namespace {

constexpr const char* kDump =
    R"({"schema":"single","maps":[{"name":"my.bss","map_type":2,"value":{"kind":"struct","type_name":".bss","members":[)"
    R"({"name":"n","value":{"kind":"uint","bits":64,"value":7}},{"name":"p","value":{"kind":"ptr","value":1,"deref":)"
    R"({"kind":"struct","type_name":"s","members":[{"name":"x","value":{"kind":"int","bits":32,"value":-3}}]}}}]}}],)"
    R"("dsq_states":[{"id":81,"nr":2,"origin":"user"},{"id":1,"nr":0,"origin":"user"}],"kernel":{"release":"7.2"}})";

std::string text_at(std::string_view path) {
  const auto found = find(kDump, path);
  return found ? found->text : "error: " + found.error().message;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(path)

BOOST_AUTO_TEST_CASE(keys_indexes_and_names) {
  BOOST_TEST(text_at("kernel.release") == "7.2");
  BOOST_TEST(text_at("dsq_states.1.nr") == "0");  // by id
  BOOST_TEST(text_at("dsq_states.0.nr") == "2");  // by index, where no id is that
  BOOST_TEST(text_at("dsq_states.0x51.nr") == "2");
  BOOST_TEST(text_at("maps.my.bss.map_type") == "2");
  BOOST_TEST(text_at("dsq_states.0") == R"({"id":81,"nr":2,"origin":"user"})");
}

BOOST_AUTO_TEST_CASE(into_values) {
  BOOST_TEST(text_at("maps.my.bss.value.n") == "7");
  BOOST_TEST(text_at("maps.0.value.p.x") == "-3");
  BOOST_TEST(text_at("maps.0.value").starts_with(".bss{n=7, p=0x1"));
  BOOST_TEST(find(kDump, "maps.0.value.n")->json == R"({"kind":"uint","bits":64,"value":7})");
}

BOOST_AUTO_TEST_CASE(a_miss_says_what_is_there) {
  BOOST_TEST(text_at("kernel.build") == "error: 'build' is not in 'kernel.', which is an object with release");
  BOOST_TEST(text_at("dsq_states.9.nr").find("a list of 2") != std::string::npos);
  BOOST_TEST(text_at("maps.0.value.zz").find("has no 'zz'") != std::string::npos);
  BOOST_TEST(!find("{", "a").has_value());
}

BOOST_AUTO_TEST_SUITE_END()
