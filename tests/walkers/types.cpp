#include "walkers/types.hpp"

#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/walkers/synthetic/types.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::TypeWriter;

namespace {

std::string refusal(const std::vector<std::byte>& blob) {
  const auto types = Types::parse(blob);
  BOOST_REQUIRE(!types);
  return types.error().message;
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

template <class T>
void patch(std::vector<std::byte>& blob, std::size_t at, T value) {
  std::memcpy(blob.data() + at, &value, sizeof value);
}

std::vector<std::byte> sample() {
  TypeWriter w;
  w.add_struct("sample", 8, {{"value", w.u64, 0}});
  return w.bytes();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(types)

BOOST_AUTO_TEST_CASE(resolves_paths_through_structs_typedefs_and_anonymous_members) {
  TypeWriter w;
  const int inner = w.add_struct("inner", 16, {{"a", w.u32, 0}, {"b", w.u64, 64}});
  const int inner_t = w.add_const(w.add_typedef("inner_t", inner));
  const int nameless = w.add_struct("", 16, {{"left", w.u64, 0}, {"right", inner, 0}}, true);
  const int deeper = w.add_struct("", 24, {{nullptr, nameless, 64}});
  // -fms-extensions (7.2 kernels): a struct with a tag, but as member without a name.
  w.add_struct("outer", 64, {{"first", w.u8, 0}, {"nested", inner_t, 64}, {nullptr, deeper, 192}, {nullptr, inner, 384}});
  const auto types = synthetic::parsed(w.bytes());
  BOOST_TEST(types.offset("outer.first").value() == 0u);
  BOOST_TEST(types.offset("outer.nested.b").value() == 16u);
  BOOST_TEST(types.offset("outer.left").value() == 32u);
  BOOST_TEST(types.offset("outer.right.b").value() == 40u);
  BOOST_TEST(types.offset("outer.b").value() == 56u);
  BOOST_TEST(types.size("outer").value() == 64u);
  BOOST_TEST(types.size("outer.nested").value() == 16u);
  BOOST_TEST(types.maybe_field("outer.nested.b")->offset == 16u);
  BOOST_TEST(!types.maybe_field("outer.none").has_value());
  Field nested, first;
  BOOST_TEST(types.fill({{"outer.nested", &nested}, {"outer.first", &first}}).has_value());
  BOOST_TEST(nested.bytes == 16u);
  BOOST_TEST(first.bytes == 1u);
  BOOST_TEST(!types.fill({{"outer.nested", &nested}, {"outer.none", &first}}).has_value());
  BOOST_TEST(types.field("outer.right.b").value().bytes == 8u);
  BOOST_TEST(types.has("outer.left"));
  BOOST_TEST(!types.has("outer.middle"));
}

BOOST_AUTO_TEST_CASE(errors_name_the_part_that_is_missing) {
  TypeWriter w;
  w.add_struct("outer", 16, {{"list", w.list_head, 0}});
  const auto types = synthetic::parsed(w.bytes());
  BOOST_TEST(types.offset("nothing.list").error().message == "the kernel's BTF has no struct nothing");
  BOOST_TEST(types.offset("outer.lost").error().message == "the kernel's BTF has no member lost on the path outer.lost");
  BOOST_TEST(mentions(types.offset("outer.list.next.more").error().message, "no member more"));
  for (const char* path : {"outer", "outer.", "outer..list", "outer.list[", "outer.list[x]", "outer.list[-1]", "", ".", "outer.[0]"})
    BOOST_TEST(!types.offset(path));
  BOOST_TEST(!types.size("nothing"));
}

BOOST_AUTO_TEST_CASE(arrays_are_indexed_within_their_bounds) {
  TypeWriter w;
  const int upid = w.add_struct("upid", 16, {{"nr", w.s32, 0}, {"ns", w.pointer, 64}});
  w.add_struct("pid", 64, {{"count", w.u32, 0}, {"numbers", w.array(upid, 2), 64}, {"open", w.array(upid, 0), 320}});
  const auto types = synthetic::parsed(w.bytes());
  BOOST_TEST(types.offset("pid.numbers[1].ns").value() == 32u);
  BOOST_TEST(types.size("pid.numbers").value() == 32u);
  BOOST_TEST(types.size("pid.numbers[1]").value() == 16u);
  BOOST_TEST(types.offset("pid.open[3].nr").value() == 88u);  // flexible: any index
  BOOST_TEST(!types.offset("pid.numbers[2].ns"));
  BOOST_TEST(!types.offset("pid.count[0]"));
  BOOST_TEST(!types.offset("pid.open[4294967295]"));
}

BOOST_AUTO_TEST_CASE(sizes_that_overflow_are_no_sizes) {
  TypeWriter w;
  const int big = w.array(w.u64, 0xffffffff);
  const int bigger = w.array(big, 0xffffffff);
  const int wraps = w.array(w.array(w.array(w.array(w.u8, 0x10000), 0x10000), 0x10000), 0x10000);  // 2^64
  w.add_struct("huge", 8, {{"a", bigger, 0}, {"b", wraps, 0}, {"c", big, 0}});
  const auto types = synthetic::parsed(w.bytes());
  for (const char* path : {"huge.a", "huge.b", "huge.c"}) BOOST_TEST(!types.size(path));
  BOOST_TEST(!types.offset("huge.a[1]"));
  BOOST_TEST(!types.offset("huge.c[4294967294]"));
  BOOST_TEST(types.offset("huge.c[2]").value() == 16u);
}

BOOST_AUTO_TEST_CASE(bit_fields_have_a_bit_offset_and_no_byte_offset) {
  TypeWriter w;
  w.add_struct("flags", 4, {{"a", w.u32, 0, 1}, {"b", w.u32, 1, 3}, {"whole", w.u16, 16}});
  const auto types = synthetic::parsed(w.bytes());
  const auto b = types.member("flags.b").value();
  BOOST_TEST(b.bit_offset == 1u);
  BOOST_TEST(b.bits == 3u);
  BOOST_TEST(mentions(types.offset("flags.b").error().message, "bit-field"));
  BOOST_TEST(mentions(types.offset("flags.a").error().message, "bit-field"));  // also when it starts on a byte
  BOOST_TEST(!types.size("flags.a"));
  BOOST_TEST(types.offset("flags.whole").value() == 2u);
}

BOOST_AUTO_TEST_CASE(the_largest_of_several_structs_with_one_name_counts) {
  TypeWriter w;
  w.add_struct("rq", 8, {{"x", w.u64, 0}});
  w.add_struct("rq", 64, {{"idle", w.pointer, 256}});
  w.add_struct("rq", 16, {{"y", w.u64, 64}});
  const auto types = synthetic::parsed(w.bytes());
  BOOST_TEST(types.size("rq").value() == 64u);
  BOOST_TEST(types.offset("rq.idle").value() == 32u);
}

BOOST_AUTO_TEST_CASE(enumerators_are_found_by_name_and_by_value) {
  TypeWriter w;
  w.add_enum("kind", {{"KIND_NONE", 0}, {"KIND_ERROR", 1024}, {"KIND_NO_OTHER", 1024}});
  w.add_enum("kind", {{"KIND_OTHER", 7}});  // some driver's own
  w.add_enum("flags", {{"FLAG_TOP", -2147483647 - 1}});
  const auto types = synthetic::parsed(w.bytes());
  BOOST_TEST(types.enumerator("kind", "KIND_ERROR").value() == 1024);
  BOOST_TEST(types.enumerator("kind", "KIND_OTHER").value() == 7);
  BOOST_TEST(!types.enumerator("kind", "KIND"));
  BOOST_TEST(!types.enumerator("kinds", "KIND_NONE"));
  BOOST_TEST(types.enumerator_name("kind", 1024).value() == "KIND_ERROR");
  BOOST_TEST(!types.enumerator_name("kind", 1025));
  BOOST_TEST(static_cast<std::uint32_t>(types.enumerator("flags", "FLAG_TOP").value()) == 0x80000000u);
  BOOST_TEST(!types.find("kind"));
}

BOOST_AUTO_TEST_CASE(anonymous_members_that_contain_themselves_end) {
  TypeWriter w;
  // Each level refers to itself twice: without a bound on visits this is 2^32 of them.
  const int self = w.add_struct("self", 8, {{"x", w.u64, 0}});
  auto* type = const_cast<btf_type*>(btf__type_by_id(w.raw(), static_cast<std::uint32_t>(self)));
  w.add_struct("knot", 8, {{nullptr, self, 0}, {nullptr, self, 0}});
  auto blob = w.bytes();
  (void)type;
  // "knot" has the id behind "self"; make both of its members point at itself.
  const auto knot = static_cast<std::uint32_t>(self + 1);
  btf_header header;
  std::memcpy(&header, blob.data(), sizeof header);
  const std::size_t end = header.hdr_len + header.type_off + header.type_len;
  patch(blob, end - 2 * sizeof(btf_member) + 4, knot);
  patch(blob, end - sizeof(btf_member) + 4, knot);
  const auto types = synthetic::parsed(blob);
  BOOST_TEST(!types.offset("knot.never"));
  BOOST_TEST(!types.has("knot.x"));
}

BOOST_AUTO_TEST_CASE(typedefs_that_name_each_other_end) {
  TypeWriter w;
  const int first = w.add_typedef("first", w.u64);
  const int second = w.add_typedef("second", first);
  w.add_struct("holder", 8, {{"x", second, 0}, {"y", w.array(second, 4), 64}});
  auto blob = w.bytes();
  btf_header header;
  std::memcpy(&header, blob.data(), sizeof header);
  // The typedef records stand before the struct with its two members and the array.
  const std::size_t end = header.hdr_len + header.type_off + header.type_len;
  const std::size_t tail = sizeof(btf_type) + 2 * sizeof(struct btf_member) + sizeof(btf_type) + sizeof(struct btf_array);
  patch(blob, end - tail - 2 * sizeof(btf_type) + 8, static_cast<std::uint32_t>(second));
  const auto types = synthetic::parsed(blob);
  BOOST_TEST(types.offset("holder.x").value() == 0u);
  BOOST_TEST(!types.size("holder.x"));
  BOOST_TEST(!types.offset("holder.x.y"));
  BOOST_TEST(!types.offset("holder.y[1]"));
}

BOOST_AUTO_TEST_CASE(every_malformed_header_is_refused_before_libbpf_sees_it) {
  const auto good = sample();
  BOOST_TEST(Types::parse(good).has_value());
  BOOST_TEST(mentions(refusal({}), "no room"));
  BOOST_TEST(mentions(refusal({good.begin(), good.begin() + 23}), "no room"));
  auto blob = good;
  patch(blob, 0, std::uint16_t{0x9feb});
  BOOST_TEST(mentions(refusal(blob), "magic is 0x9feb"));
  blob = good;
  patch(blob, 2, std::uint8_t{2});
  BOOST_TEST(mentions(refusal(blob), "version 2"));
  for (const std::size_t field : {4, 8, 12, 16, 20})  // hdr_len, type_off, type_len, str_off, str_len
    for (const std::uint32_t value : {0xffffffffu, 0x80000000u, 0xfffffff0u, 1u, static_cast<std::uint32_t>(good.size())}) {
      blob = good;
      patch(blob, field, value);
      BOOST_TEST(!Types::parse(blob), "header field at " << field << " = " << value);
    }
}

BOOST_AUTO_TEST_CASE(records_that_are_cut_off_or_unknown_are_refused) {
  const auto good = sample();
  btf_header header;
  std::memcpy(&header, good.data(), sizeof header);
  auto blob = good;
  patch(blob, header.hdr_len + 4, std::uint32_t{31u << 24});  // kind of the first type
  BOOST_TEST(mentions(refusal(blob), "type 1 is of unknown kind 31"));
  blob = good;
  const std::size_t last = header.hdr_len + header.type_len - sizeof(struct btf_member) - sizeof(btf_type);
  patch(blob, last + 4, std::uint32_t{(BTF_KIND_STRUCT << 24) | 0xffff});
  BOOST_TEST(mentions(refusal(blob), "is cut off"));
  blob = good;
  blob[header.hdr_len + header.str_off + header.str_len - 1] = std::byte{'x'};
  BOOST_TEST(mentions(refusal(blob), "bounded by NULs"));
}

BOOST_AUTO_TEST_CASE(ids_and_names_out_of_range_are_refused) {
  const auto good = sample();
  btf_header header;
  std::memcpy(&header, good.data(), sizeof header);
  const std::size_t member = header.hdr_len + header.type_len - sizeof(struct btf_member);
  for (const std::size_t field : {std::size_t{0}, std::size_t{4}}) {
    auto blob = good;
    patch(blob, member + field, std::uint32_t{0x7fffffff});
    BOOST_TEST(mentions(refusal(blob), "libbpf refuses"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
