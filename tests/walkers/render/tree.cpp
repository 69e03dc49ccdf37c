#include "walkers/render/tree.hpp"

#include <boost/test/unit_test.hpp>

#include "walkers/render/json_sink.hpp"

using namespace floe::walkers::render;

namespace {

// A value with every kind in it, told piece by piece.
void tell(Sink& sink) {
  const std::byte bytes[] = {std::byte{1}, std::byte{0xab}};
  sink.begin_struct("all");
  sink.member("int");
  sink.integer(32, -1);
  sink.member("uint");
  sink.unsigned_integer(64, ~std::uint64_t{0});
  sink.member("bool");
  sink.boolean(true);
  sink.member("char");
  sink.character(65);
  sink.member("float");
  sink.floating(64, 0.5);
  sink.member("enum");
  sink.enumerator(32, 3, "THREE", false);
  sink.member("nobody");
  sink.enumerator(32, -4, std::nullopt, true);
  sink.member("inner");
  sink.begin_struct(std::nullopt);
  sink.end_struct();
  sink.member("array");
  sink.begin_array(3);
  sink.begin_array(0);
  sink.end_array();
  sink.begin_struct("one");
  sink.member("x");
  sink.character(0);
  sink.end_struct();
  sink.end_array();
  sink.member("cpus");
  sink.cpu_list("0-3");
  sink.member("null");
  sink.pointer(0);
  sink.member("skipped");
  sink.pointer(16, "a reason", "cast→arena");
  sink.member("followed");
  sink.begin_deref(32);
  sink.begin_truncated(8, 2);
  sink.bytes(bytes);
  sink.end_truncated();
  sink.end_deref("sdt_alloc");
  sink.member("not");
  sink.unsupported("why \"not\"");
  sink.end_struct();
}

constexpr const char* kJson =
    R"({"kind":"struct","type_name":"all","members":[{"name":"int","value":{"kind":"int","bits":32,"value":-1}},)"
    R"({"name":"uint","value":{"kind":"uint","bits":64,"value":18446744073709551615}},)"
    R"({"name":"bool","value":{"kind":"bool","value":true}},)"
    R"({"name":"char","value":{"kind":"char","value":65}},{"name":"float","value":{"kind":"float","bits":64,"value":0.5}},)"
    R"({"name":"enum","value":{"kind":"enum","bits":32,"value":3,"variant":"THREE","is_signed":false}},)"
    R"({"name":"nobody","value":{"kind":"enum","bits":32,"value":-4,"variant":null,"is_signed":true}},)"
    R"({"name":"inner","value":{"kind":"struct","type_name":null,"members":[]}},)"
    R"({"name":"array","value":{"kind":"array","len":3,"elements":[{"kind":"array","len":0,"elements":[]},)"
    R"({"kind":"struct","type_name":"one","members":[{"name":"x","value":{"kind":"char","value":0}}]}]}},)"
    R"({"name":"cpus","value":{"kind":"cpu_list","cpus":"0-3"}},{"name":"null","value":{"kind":"ptr","value":0}},)"
    R"({"name":"skipped","value":{"kind":"ptr","value":16,"deref_skipped_reason":"a reason","cast_annotation":"cast→arena"}},)"
    R"({"name":"followed","value":{"kind":"ptr","value":32,"deref":{"kind":"truncated","needed":8,"had":2,)"
    R"("partial":{"kind":"bytes","hex":"01 ab"}},"cast_annotation":"sdt_alloc"}},)"
    R"({"name":"not","value":{"kind":"unsupported","reason":"why \"not\""}}]})";

}  // namespace

BOOST_AUTO_TEST_SUITE(tree)

BOOST_AUTO_TEST_CASE(json_has_every_kind_with_its_keys_in_order) {
  floe::JsonWriter json;
  JsonSink sink(json);
  json.begin_array();
  tell(sink);
  sink.boolean(false);
  tell(sink);
  json.end_array();
  BOOST_TEST(json.view() == "[" + std::string(kJson) + R"(,{"kind":"bool","value":false},)" + kJson + "]");
}

BOOST_AUTO_TEST_CASE(a_tree_keeps_what_it_was_told_and_tells_it_again) {
  TreeSink sink;
  tell(sink);
  const Value value = copy(sink.take());
  floe::JsonWriter json;
  write(value, json);
  BOOST_TEST(json.view() == kJson);
  const auto& members = std::get<Struct>(value.v).members;
  BOOST_TEST(members.size() == 14u);
  BOOST_TEST(std::get<Array>(members[8].value.v).elements.size() == 2u);
  BOOST_TEST(*std::get<Ptr>(members[12].value.v).cast_annotation == "sdt_alloc");
}

BOOST_AUTO_TEST_CASE(a_single_scalar_is_a_tree_too) {
  TreeSink sink;
  sink.integer(8, 5);
  BOOST_TEST(std::get<Int>(sink.take().v).value == 5);
  sink.boolean(true);
  BOOST_TEST(std::get<Bool>(sink.take().v).value);
}

BOOST_AUTO_TEST_SUITE_END()
