#include "walkers/render/renderer.hpp"

#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/render/fixture.hpp"

using namespace floe::walkers::render;
using floe::walkers::synthetic::TypeWriter;

namespace {

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

std::string member(const std::string& name, const std::string& value) {
  return R"({"name":")" + name + R"(","value":)" + value + "}";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(renderer)

BOOST_AUTO_TEST_CASE(integers_keep_their_width_and_sign) {
  TypeWriter w;
  const int s64 = btf__add_int(w.raw(), "long", 8, BTF_INT_SIGNED);
  const int s8 = btf__add_int(w.raw(), "signed char", 1, BTF_INT_SIGNED);
  const int wide = btf__add_int(w.raw(), "__int128", 16, 0);
  const int boolean = btf__add_int(w.raw(), "_Bool", 1, BTF_INT_BOOL);
  BOOST_TEST(json_of(w, w.u8, bytes_of(std::uint8_t{200})) == R"({"kind":"uint","bits":8,"value":200})");
  BOOST_TEST(json_of(w, w.u16, bytes_of(std::uint16_t{0xfffe})) == R"({"kind":"uint","bits":16,"value":65534})");
  BOOST_TEST(json_of(w, w.s32, bytes_of(std::int32_t{-5})) == R"({"kind":"int","bits":32,"value":-5})");
  BOOST_TEST(json_of(w, s8, bytes_of(std::int8_t{-128})) == R"({"kind":"int","bits":8,"value":-128})");
  BOOST_TEST(json_of(w, w.u64, bytes_of(~std::uint64_t{0})) == R"({"kind":"uint","bits":64,"value":18446744073709551615})");
  BOOST_TEST(json_of(w, s64, bytes_of(std::int64_t{1} << 63)) == R"({"kind":"int","bits":64,"value":-9223372036854775808})");
  BOOST_TEST(json_of(w, wide, bytes_of(std::uint64_t{1}, std::uint64_t{0xff})) ==
             R"({"kind":"bytes","hex":"01 00 00 00 00 00 00 00 ff 00 00 00 00 00 00 00"})");
  BOOST_TEST(json_of(w, boolean, bytes_of(std::uint8_t{2})) == R"({"kind":"bool","value":true})");
  BOOST_TEST(json_of(w, boolean, bytes_of(std::uint8_t{0})) == R"({"kind":"bool","value":false})");
  BOOST_TEST(json_of(w, w.character, bytes_of('A')) == R"({"kind":"char","value":65})");
}

BOOST_AUTO_TEST_CASE(floats_of_four_and_eight_bytes) {
  TypeWriter w;
  const int f32 = btf__add_float(w.raw(), "float", 4);
  const int f64 = btf__add_float(w.raw(), "double", 8);
  const int f128 = btf__add_float(w.raw(), "long double", 16);
  BOOST_TEST(json_of(w, f32, bytes_of(1.5F)) == R"({"kind":"float","bits":32,"value":1.5})");
  BOOST_TEST(json_of(w, f64, bytes_of(-0.1)) == R"({"kind":"float","bits":64,"value":-0.1})");
  BOOST_TEST(json_of(w, f64, bytes_of(std::uint64_t{0x7ff0000000000000})) == R"({"kind":"float","bits":64,"value":null})");
  BOOST_TEST(json_of(w, f128, bytes_of(0.0, 0.0)) == R"({"kind":"unsupported","reason":"unsupported float size 16"})");
}

BOOST_AUTO_TEST_CASE(enums_are_named_by_their_value_within_their_width) {
  TypeWriter w;
  const int plain = btf__add_enum(w.raw(), "kind", 4);
  btf__add_enum_value(w.raw(), "NONE", 0);
  btf__add_enum_value(w.raw(), "SOME", 7);
  btf__add_enum_value(w.raw(), "ALIAS", 7);
  btf__add_enum_value(w.raw(), "ALL", 0xffffffff);
  const int with_sign = btf__add_enum(w.raw(), "signed_kind", 4);
  btf__add_enum_value(w.raw(), "MINUS", -1);
  const int wide = btf__add_enum64(w.raw(), "wide", 8, false);
  btf__add_enum64_value(w.raw(), "HIGH", std::uint64_t{1} << 63);
  const int narrow = btf__add_enum(w.raw(), "narrow", 1);
  btf__add_enum_value(w.raw(), "LAST", 255);
  BOOST_TEST(json_of(w, plain, bytes_of(7)) == R"({"kind":"enum","bits":32,"value":7,"variant":"SOME","is_signed":false})");
  BOOST_TEST(json_of(w, plain, bytes_of(6)) == R"({"kind":"enum","bits":32,"value":6,"variant":null,"is_signed":false})");
  BOOST_TEST(json_of(w, plain, bytes_of(-1)) == R"({"kind":"enum","bits":32,"value":4294967295,"variant":"ALL","is_signed":false})");
  BOOST_TEST(json_of(w, with_sign, bytes_of(-1)) == R"({"kind":"enum","bits":32,"value":-1,"variant":"MINUS","is_signed":true})");
  BOOST_TEST(json_of(w, wide, bytes_of(std::uint64_t{1} << 63)) ==
             R"({"kind":"enum","bits":64,"value":-9223372036854775808,"variant":"HIGH","is_signed":false})");
  BOOST_TEST(json_of(w, narrow, bytes_of(std::uint8_t{255})) ==
             R"({"kind":"enum","bits":8,"value":255,"variant":"LAST","is_signed":false})");
}

BOOST_AUTO_TEST_CASE(wrappers_are_peeled_and_chains_without_end_are_not) {
  TypeWriter w;
  int type = w.add_typedef("u32", w.u32);
  type = btf__add_const(w.raw(), btf__add_volatile(w.raw(), btf__add_restrict(w.raw(), type)));
  type = btf__add_type_tag(w.raw(), "tag", type);
  BOOST_TEST(json_of(w, type, bytes_of(9u)) == R"({"kind":"uint","bits":32,"value":9})");
  for (int i = 0; i < 40; ++i) type = w.add_const(type);
  BOOST_TEST(mentions(json_of(w, type, bytes_of(9u)), "leads nowhere"));
  BOOST_TEST(mentions(json_of(w, 9999, bytes_of(9u)), "leads nowhere"));
  BOOST_TEST(mentions(json_of(w, 0, bytes_of(9u)), "void"));
}

BOOST_AUTO_TEST_CASE(structs_show_anonymous_members_among_their_own) {
  TypeWriter w;
  const int arms = w.add_struct("", 8, {{"whole", w.u64, 0}, {"half", w.u32, 0}}, true);
  const int inner = w.add_struct("inner", 4, {{"x", w.u32, 0}});
  const int outer = w.add_struct("outer", 24, {{"a", w.u32, 0}, {nullptr, arms, 64}, {"in", inner, 128}, {nullptr, inner, 160}});
  BOOST_TEST(json_of(w, outer, bytes_of(1u, 0u, std::uint64_t{0x200000003}, 7u, 8u)) ==
             R"({"kind":"struct","type_name":"outer","members":[)" + member("a", R"({"kind":"uint","bits":32,"value":1})") + "," +
                 member("whole", R"({"kind":"uint","bits":64,"value":8589934595})") + "," +
                 member("half", R"({"kind":"uint","bits":32,"value":3})") + "," +
                 member("in", R"({"kind":"struct","type_name":"inner","members":[)" +
                                  member("x", R"({"kind":"uint","bits":32,"value":7})") + "]}") +
                 "," + member("x", R"({"kind":"uint","bits":32,"value":8})") + "]}");
  BOOST_TEST(json_of(w, arms, bytes_of(std::uint64_t{5})).starts_with(R"({"kind":"struct","type_name":null,"members":[)"));
  const int empty = w.add_struct("empty", 0, {});
  BOOST_TEST(json_of(w, empty, {}) == R"({"kind":"struct","type_name":"empty","members":[]})");
}

BOOST_AUTO_TEST_CASE(bit_fields_cross_bytes_and_reach_64_bits) {
  TypeWriter w;
  const int s64 = btf__add_int(w.raw(), "long", 8, BTF_INT_SIGNED);
  const int kind = btf__add_enum(w.raw(), "kind", 4);
  btf__add_enum_value(w.raw(), "TWO", 2);
  const int flags =
      w.add_struct("flags", 8, {{"low", w.u32, 0, 3}, {"across", w.u32, 3, 10}, {"neg", w.s32, 13, 4}, {"kind", kind, 17, 2}});
  const std::uint64_t word = 5 | 0x2abu << 3 | 0x9u << 13 | 2u << 17;
  const auto text = json_of(w, flags, bytes_of(word));
  BOOST_TEST(mentions(text, member("low", R"({"kind":"int","bits":3,"value":5})")) == false);
  BOOST_TEST(mentions(text, member("low", R"({"kind":"uint","bits":3,"value":5})")));
  BOOST_TEST(mentions(text, member("across", R"({"kind":"uint","bits":10,"value":683})")));
  BOOST_TEST(mentions(text, member("neg", R"({"kind":"int","bits":4,"value":-7})")));
  BOOST_TEST(mentions(text, member("kind", R"({"kind":"uint","bits":2,"value":2})")));
  // 64 bits that start within a byte lie in nine bytes.
  const int nine = w.add_struct("nine", 16, {{"x", s64, 4, 64}});
  BOOST_TEST(mentions(json_of(w, nine, bytes_of(std::uint64_t{0xfedcba9876543210}, std::uint64_t{0x8})),
                      member("x", R"({"kind":"int","bits":64,"value":-8075574627823959263})")));
}

BOOST_AUTO_TEST_CASE(integers_of_old_compilers_are_bit_fields_too) {
  TypeWriter w;
  const int old = btf__add_int(w.raw(), "old", 4, 0);
  const int holder = w.add_struct("holder", 4, {{"x", old, 0}});
  // libbpf writes whole integers only; make it 5 bits from bit 3 on.
  auto* type = const_cast<btf_type*>(btf__type_by_id(w.raw(), static_cast<unsigned>(old)));
  const std::uint32_t narrow = 3u << 16 | 5u;
  std::memcpy(type + 1, &narrow, sizeof narrow);
  BOOST_TEST(mentions(json_of(w, holder, bytes_of(0b10101'010u)), R"({"kind":"uint","bits":5,"value":21})"));
}

BOOST_AUTO_TEST_CASE(arrays_show_what_is_there_up_to_their_bound) {
  TypeWriter w;
  const int four = w.array(w.u16, 4);
  const int matrix = w.array(w.array(w.u8, 2), 2);
  const std::string u16 = R"({"kind":"uint","bits":16,"value":)";
  BOOST_TEST(json_of(w, four, bytes_of(std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3}, std::uint16_t{4})) ==
             R"({"kind":"array","len":4,"elements":[)" + u16 + "1}," + u16 + "2}," + u16 + "3}," + u16 + "4}]}");
  BOOST_TEST(json_of(w, four, bytes_of(std::uint16_t{1}, std::uint8_t{2})) ==
             R"({"kind":"truncated","needed":8,"had":3,"partial":{"kind":"array","len":4,"elements":[)" + u16 +
                 R"(1},{"kind":"truncated","needed":2,"had":1,"partial":{"kind":"bytes","hex":"02"}}]}})");
  BOOST_TEST(json_of(w, matrix, bytes_of(0x04030201u))
                 .find(R"("len":2,"elements":[{"kind":"array","len":2,"elements":[{"kind":"uint","bits":8,"value":1})") !=
             std::string::npos);
  Renderer two(table_of(w), {.max_elements = 2});
  BOOST_TEST(json_of(two, four, bytes_of(std::uint64_t{0})) == R"({"kind":"array","len":4,"elements":[)" + u16 + "0}," + u16 + "0}]}");
  const int long_array = w.array(w.u8, 5000);
  BOOST_TEST(std::get<Array>(Renderer(table_of(w)).value(long_array, std::vector<std::byte>(5000)).v).elements.size() == 4096u);
  BOOST_TEST(
      std::get<Array>(Renderer(table_of(w), {.max_elements = 0}).value(long_array, std::vector<std::byte>(5000)).v).elements.size() ==
      5000u);
}

BOOST_AUTO_TEST_CASE(flexible_arrays_say_how_many_bytes_follow) {
  TypeWriter w;
  const int flex = w.add_struct("flex", 4, {{"n", w.u32, 0}, {"data", w.array(w.u32, 0), 32}});
  BOOST_TEST(mentions(json_of(w, flex, bytes_of(3u)), member("data", R"({"kind":"array","len":0,"elements":[]})")));
  BOOST_TEST(mentions(json_of(w, flex, bytes_of(3u, 1u, 2u)), "flex array: BTF length 0, 8 bytes are there"));
  // What follows a struct inside of another is not its flexible array.
  const int around = w.add_struct("around", 8, {{"f", flex, 0}, {"next", w.u32, 32}});
  BOOST_TEST(mentions(json_of(w, around, bytes_of(3u, 4u)), member("data", R"({"kind":"array","len":0,"elements":[]})")));
}

BOOST_AUTO_TEST_CASE(every_kind_that_is_cut_off_shows_what_is_there) {
  TypeWriter w;
  const int f64 = btf__add_float(w.raw(), "double", 8);
  const int choice = btf__add_enum(w.raw(), "choice", 4);
  btf__add_enum_value(w.raw(), "A", 0);
  const int pair = w.add_struct("pair", 12, {{"a", w.u32, 0}, {"b", w.u32, 32}, {"c", w.u32, 64}});
  const auto cut = [](int bytes) { return std::vector<std::byte>(static_cast<std::size_t>(bytes)); };
  for (const auto& [type, needed] :
       {std::pair(w.u32, 4), std::pair(w.u64, 8), std::pair(f64, 8), std::pair(choice, 4), std::pair(w.pointer, 8)}) {
    const auto value = Renderer(table_of(w)).value(static_cast<std::uint32_t>(type), cut(needed - 1));
    const auto* truncated = std::get_if<Truncated>(&value.v);
    BOOST_REQUIRE(truncated != nullptr);
    BOOST_TEST(truncated->needed == static_cast<unsigned>(needed));
    BOOST_TEST(truncated->had == static_cast<unsigned>(needed - 1));
    BOOST_TEST(std::get<Bytes>(truncated->partial->v).bytes.size() == static_cast<unsigned>(needed - 1));
  }
  // A struct keeps the members it has, cuts one, and leaves out what is wholly outside.
  BOOST_TEST(json_of(w, pair, bytes_of(1u, std::uint16_t{2})) ==
             R"({"kind":"truncated","needed":12,"had":6,"partial":{"kind":"struct","type_name":"pair","members":[)" +
                 member("a", R"({"kind":"uint","bits":32,"value":1})") + "," +
                 member("b", R"({"kind":"truncated","needed":4,"had":2,"partial":{"kind":"bytes","hex":"02 00"}})") + "]}}");
  BOOST_TEST(json_of(w, pair, {}) ==
             R"({"kind":"truncated","needed":12,"had":0,"partial":{"kind":"struct","type_name":"pair","members":[]}})");
}

BOOST_AUTO_TEST_CASE(sections_show_a_member_per_variable) {
  TypeWriter w;
  const int flex = w.add_struct("flex", 4, {{"n", w.u32, 0}, {"data", w.array(w.u8, 0), 32}});
  const int count = btf__add_var(w.raw(), "count", BTF_VAR_GLOBAL_ALLOCATED, w.u64);
  const int list = btf__add_var(w.raw(), "list", BTF_VAR_STATIC, flex);
  const int section = btf__add_datasec(w.raw(), ".bss", 16);
  btf__add_datasec_var_info(w.raw(), count, 0, 8);
  btf__add_datasec_var_info(w.raw(), list, 8, 6);
  BOOST_TEST(json_of(w, section, bytes_of(std::uint64_t{42}, 2u, 0x0201u)) ==
             R"({"kind":"struct","type_name":".bss","members":[)" + member("count", R"({"kind":"uint","bits":64,"value":42})") + "," +
                 member("list",
                        R"({"kind":"struct","type_name":"flex","members":[)" + member("n", R"({"kind":"uint","bits":32,"value":2})") + "," +
                            member("data", R"({"kind":"unsupported","reason":"flex array: BTF length 0, 2 bytes are there"})") + "]}") +
                 "]}");
  BOOST_TEST(json_of(w, count, bytes_of(std::uint64_t{1})) == R"({"kind":"uint","bits":64,"value":1})");
}

BOOST_AUTO_TEST_CASE(cpu_masks_are_lists) {
  TypeWriter w;
  const int mask = w.add_struct("cpumask", 16, {{"bits", w.array(w.u64, 2), 0}});
  const int mask_t = w.add_typedef("cpumask_t", mask);
  const int bitmap = w.add_struct("scx_bitmap", 24, {{"tid", w.u64, 0}, {"bits", w.array(w.u64, 2), 64}});
  const std::uint64_t bits = 0x10f;
  Renderer renderer(table_of(w), {.cpus = 70});
  BOOST_TEST(json_of(renderer, mask, bytes_of(bits, std::uint64_t{0})) == R"({"kind":"cpu_list","cpus":"0-3,8"})");
  BOOST_TEST(json_of(renderer, mask_t, bytes_of(std::uint64_t{1} << 63, ~std::uint64_t{0})) == R"({"kind":"cpu_list","cpus":"63-69"})");
  BOOST_TEST(json_of(renderer, mask, bytes_of(~std::uint64_t{0}, std::uint64_t{0xffff888012345678})) ==
             R"({"kind":"cpu_list","cpus":"0-63"})");
  BOOST_TEST(json_of(renderer, mask, bytes_of(std::uint64_t{0}, std::uint64_t{0})) == R"({"kind":"cpu_list","cpus":""})");
  BOOST_TEST(json_of(renderer, bitmap, bytes_of(std::uint64_t{99}, std::uint64_t{5}, std::uint64_t{0})) ==
             R"({"kind":"cpu_list","cpus":"0,2"})");
  BOOST_TEST(json_of(renderer, mask, bytes_of(bits)) ==
             R"({"kind":"truncated","needed":16,"had":8,"partial":{"kind":"cpu_list","cpus":"0-3,8"}})");
}

BOOST_AUTO_TEST_CASE(what_has_no_value_says_so) {
  TypeWriter w;
  const int fwd = btf__add_fwd(w.raw(), "later", BTF_FWD_STRUCT);
  const int proto = btf__add_func_proto(w.raw(), w.u32);
  const int func = btf__add_func(w.raw(), "f", BTF_FUNC_GLOBAL, proto);
  const int of_fwd = w.array(fwd, 3);
  for (const int id : {fwd, proto, func, of_fwd})
    BOOST_TEST(json_of(w, id, bytes_of(1u)).starts_with(R"({"kind":"unsupported","reason":")"));
}

BOOST_AUTO_TEST_CASE(nesting_ends_at_its_bound) {
  TypeWriter w;
  int type = w.u8;
  for (int i = 0; i < 31; ++i) type = w.add_struct("s", 1, {{"x", type, 0}});
  BOOST_TEST(mentions(json_of(w, type, bytes_of(std::uint8_t{7})), R"({"kind":"uint","bits":8,"value":7})"));
  type = w.add_struct("s", 1, {{"x", w.array(type, 1), 0}});
  BOOST_TEST(mentions(json_of(w, type, bytes_of(std::uint8_t{7})), "render depth 32 exceeded"));
}

// 2^31 members when they are all shown.
BOOST_AUTO_TEST_CASE(values_that_multiply_are_cut_in_proportion_to_their_bytes) {
  TypeWriter w;
  int type = w.u64;
  for (int i = 0; i < 31; ++i) type = w.add_struct("twice" + std::to_string(i), 8, {{"a", type, 0}, {"b", type, 0}}, true);
  Renderer renderer(table_of(w));
  const auto text = json_of(renderer, type, bytes_of(std::uint64_t{1}));
  BOOST_TEST(text.size() < 1u << 20);
  BOOST_TEST(mentions(text, "more values than the bytes account for"));
  BOOST_TEST(renderer.limited() > 0u);
  // The same through anonymous members is a struct with too many of them.
  type = w.u64;
  for (int i = 0; i < 31; ++i) type = w.add_struct("", 8, {{i ? nullptr : "a", type, 0}, {i ? nullptr : "b", type, 0}}, true);
  BOOST_TEST(mentions(json_of(w, type, bytes_of(std::uint64_t{1})), "too many members"));
}

BOOST_AUTO_TEST_CASE(after_the_deadline_nothing_is_rendered) {
  TypeWriter w;
  Renderer renderer(table_of(w), {.deadline = std::chrono::steady_clock::now()});
  BOOST_TEST(json_of(renderer, w.u32, bytes_of(1u)) == R"({"kind":"unsupported","reason":"deadline reached"})");
  BOOST_TEST(renderer.limited() == 1u);
}

BOOST_AUTO_TEST_CASE(members_outside_of_their_struct_have_no_bytes) {
  TypeWriter w;
  const int odd = w.add_struct("odd", 8, {{"in", w.u64, 0}, {"out", w.u64, 640}});
  BOOST_TEST(mentions(json_of(w, odd, bytes_of(std::uint64_t{1})),
                      member("out", R"({"kind":"truncated","needed":8,"had":0,"partial":{"kind":"bytes","hex":""}})")));
}

BOOST_AUTO_TEST_SUITE_END()
