// What is written by its shape is what is written value by value: every kind, on its own and in one another, whole, cut off and at bounds.
#include "walkers/render/shape.hpp"

#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>
#include <random>

#include "tests/walkers/render/fixture.hpp"

using namespace floe::walkers::render;
using floe::walkers::synthetic::TypeWriter;

namespace {

// A BTF with every kind of value, and structs of them.
struct EveryKind {
  TypeWriter w;
  std::vector<int> with_shape, without;

  EveryKind() {
    const int s64 = btf__add_int(w.raw(), "long", 8, BTF_INT_SIGNED);
    const int boolean = btf__add_int(w.raw(), "_Bool", 1, BTF_INT_BOOL);
    const int odd = btf__add_enum(w.raw(), "odd \"names\"", 4);
    btf__add_enum_value(w.raw(), "NO\\NE", 0);
    btf__add_enum_value(w.raw(), "TWO", 2);
    const int minus = btf__add_enum(w.raw(), "minus", 1);
    btf__add_enum_value(w.raw(), "MINUS", -1);
    const int wide = btf__add_enum64(w.raw(), "wide", 8, false);
    btf__add_enum64_value(w.raw(), "HIGH", std::uint64_t{1} << 63);
    const int empty = w.add_struct("empty", 0, {});
    const int bits = w.add_struct("bits", 16, {{"low", w.u32, 0, 3}, {"neg", w.s32, 3, 13}, {"nine", s64, 20, 64}, {"k", odd, 84, 2}});
    const int arms = w.add_struct("", 8, {{"whole", w.u64, 0}, {"half", w.u32, 0}, {"bytes", w.array(w.u8, 8), 0}}, true);
    const int inner = w.add_struct("in\tner", 24, {{"b", bits, 0}, {"n", empty, 0}, {nullptr, arms, 128}});
    const int grid = w.array(w.array(inner, 2), 3);
    const int outer = w.add_struct("outer", 200,
                                   {{"comm", w.array(w.character, 16), 0},
                                    {"flag", boolean, 128},
                                    {"odd", odd, 160},
                                    {"minus", minus, 192},
                                    {"wide", wide, 256},
                                    {"grid", grid, 320},
                                    {"last", w.s32, 1472}});
    with_shape = {w.u8, w.u16, w.u32, w.u64, w.s32, s64, boolean, w.character, odd, minus, wide, empty, bits, arms, inner, grid, outer};

    const int f64 = btf__add_float(w.raw(), "double", 8);
    const int mask = w.add_struct("cpumask", 8, {{"bits", w.u64, 0}});
    const int flex = w.add_struct("flex", 4, {{"n", w.u32, 0}, {"data", w.array(w.u32, 0), 32}});
    const int outside = w.add_struct("outside", 8, {{"in", w.u64, 0}, {"out", w.u64, 640}});
    const int partly = w.add_struct("partly", 6, {{"in", w.u32, 0}, {"out", w.u32, 32}});
    const int mixed = w.add_struct("mixed", 80, {{"in", inner, 0}, {"p", w.pointer, 192}, {"more", w.array(inner, 2), 256}});
    without = {f64, w.pointer, mask, flex, outside, partly, mixed, w.array(w.u8, 300), w.array(empty, 4), 0, 9999};
  }
};

const Shape* shape_of(Plans& plans, int type_id) {
  return plans.shape(plans.node(static_cast<std::uint32_t>(type_id)), 4096);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(shape)

BOOST_AUTO_TEST_CASE(what_the_bytes_decide_has_no_shape) {
  const EveryKind kinds;
  Plans plans(table_of(kinds.w), nullptr);
  for (const int type : kinds.with_shape) BOOST_TEST((shape_of(plans, type) != nullptr), "type " << type);
  for (const int type : kinds.without) BOOST_TEST((shape_of(plans, type) == nullptr), "type " << type);
}

BOOST_AUTO_TEST_CASE(both_ways_write_the_same) {
  const EveryKind kinds;
  std::mt19937 random(6);
  std::vector<int> all = kinds.with_shape;
  all.insert(all.end(), kinds.without.begin(), kinds.without.end());
  for (const std::uint64_t max_elements : {0u, 1u, 3u, 4096u}) {
    Renderer direct(table_of(kinds.w), {.max_elements = max_elements});
    Renderer by_tree(table_of(kinds.w), {.max_elements = max_elements});
    for (const int type : all)
      for (int round = 0; round < 40; ++round) {
        // Small numbers, large ones, and fewer bytes than it takes as well as more.
        std::vector<std::byte> bytes(round < 20 ? 512 : random() % 220);
        for (auto& byte : bytes)
          byte = random() % 4 == 0 ? std::byte(random()) : std::byte{round % 3 == 0 ? std::uint8_t{0xff} : std::uint8_t{0}};
        BOOST_REQUIRE(json_of(direct, type, bytes) == json_by_tree(by_tree, type, bytes));
      }
    BOOST_TEST(direct.limited() == by_tree.limited());
  }
}

BOOST_AUTO_TEST_CASE(values_of_a_shape_stand_among_others) {
  const EveryKind kinds;
  const int inner = kinds.with_shape[14], u32 = kinds.w.u32;
  Renderer renderer(table_of(kinds.w));
  floe::JsonWriter json;
  JsonSink sink(json);
  const std::vector<std::byte> bytes(64);
  json.begin_array();
  renderer.render(static_cast<std::uint32_t>(u32), bytes, sink);
  json.number(1);
  renderer.render(static_cast<std::uint32_t>(inner), bytes, sink);
  renderer.render(static_cast<std::uint32_t>(u32), bytes, sink);
  json.begin_object().key("k");
  renderer.render(static_cast<std::uint32_t>(u32), bytes, sink);
  json.end_object().end_array();
  const std::string zero = R"({"kind":"uint","bits":32,"value":0})";
  BOOST_TEST(json.view().starts_with("[" + zero + R"(,1,{"kind":"struct")"));
  BOOST_TEST(json.view().ends_with("]}," + zero + R"(,{"k":)" + zero + "}]"));
}

// Of values that are cut off by a bound, the text is the same too: the shape steps aside before the bound is met.
BOOST_AUTO_TEST_CASE(bounds_cut_at_the_same_place) {
  TypeWriter w;
  int type = w.add_struct("leaf", 8, {{"a", w.u64, 0}, {"b", w.array(w.u8, 8), 0}}, true);
  for (int i = 0; i < 12; ++i) type = w.add_struct("twice", 8, {{"a", type, 0}, {"b", type, 0}}, true);
  const auto bytes = bytes_of(std::uint64_t{7});
  Renderer direct(table_of(w)), by_tree(table_of(w));
  BOOST_TEST((json_of(direct, type, bytes) == json_by_tree(by_tree, type, bytes)));
  BOOST_TEST(direct.limited() > 0u);
  BOOST_TEST(direct.limited() == by_tree.limited());
}

BOOST_AUTO_TEST_CASE(the_text_of_all_shapes_is_bounded) {
  const EveryKind kinds;
  Plans plans(table_of(kinds.w), nullptr);
  std::size_t left = 600;
  auto& outer = plans.node(static_cast<std::uint32_t>(kinds.with_shape.back()));
  BOOST_TEST((Shape::of(outer, plans, 0, left) == nullptr));
  BOOST_TEST(left < 100u);
  left = 0;
  BOOST_TEST((Shape::of(plans.node(static_cast<std::uint32_t>(kinds.w.u32)), plans, 0, left) == nullptr));
  // A struct that holds itself has no end, and no shape.
  TypeWriter w;
  const int self = w.add_struct("self", 8, {{"x", w.raw() ? static_cast<int>(btf__type_cnt(w.raw())) : 0, 0}});
  Plans of_self(table_of(w), nullptr);
  BOOST_TEST((shape_of(of_self, self) == nullptr));
}

BOOST_AUTO_TEST_SUITE_END()
