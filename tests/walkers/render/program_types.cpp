#include "walkers/render/program_types.hpp"

#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/render/fixture.hpp"
#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::render;
using synthetic::TypeWriter;

namespace {

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

// Split BTF over a kernel's, with one struct whose member is of the base's type `base_struct`.
std::vector<std::byte> split_btf(const Types& base, std::uint32_t base_struct) {
  struct btf* split = btf__new_empty_split(const_cast<struct btf*>(base.raw()));
  BOOST_REQUIRE(split != nullptr);
  BOOST_REQUIRE(btf__add_struct(split, "of_program", 16) > 0);
  BOOST_REQUIRE(btf__add_field(split, "list", static_cast<int>(base_struct), 0, 0) == 0);
  std::uint32_t size = 0;
  const auto* data = static_cast<const std::byte*>(btf__raw_data(split, &size));
  std::vector<std::byte> blob(data, data + size);
  btf__free(split);
  return blob;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(program_types)

BOOST_AUTO_TEST_CASE(a_table_finds_complete_types_by_name_and_kind) {
  TypeWriter w;
  btf__add_fwd(w.raw(), "thing", BTF_FWD_STRUCT);
  w.add_struct("thing", 8, {{"a", w.u64, 0}});
  const int larger = w.add_struct("thing", 16, {{"a", w.u64, 0}});
  const int arms = w.add_struct("arms", 8, {{"a", w.u64, 0}}, true);
  const auto table = table_of(w);
  BOOST_TEST(*table->find("thing") == static_cast<unsigned>(larger));
  BOOST_TEST(!table->find("thing", true));
  BOOST_TEST(!table->find("arms"));
  BOOST_TEST(*table->find("arms", true) == static_cast<unsigned>(arms));
  BOOST_TEST(!table->find(""));
  BOOST_TEST(table->first_own() == 1u);
  BOOST_TEST(*table->size(static_cast<unsigned>(w.array(w.u32, 3)) - 1) == 8u);
}

BOOST_AUTO_TEST_CASE(split_btf_continues_the_ids_of_its_base) {
  TypeWriter w;
  const int base_struct = w.add_struct("in_base", 16, {{"x", w.u64, 0}, {"y", w.u64, 64}});
  const auto base = std::make_shared<const Types>(synthetic::parsed(w.bytes()));
  const auto blob = split_btf(*base, static_cast<std::uint32_t>(base_struct));
  const auto table = TypeTable::parse(blob, base).value();
  BOOST_TEST(table->first_own() == base->count());
  BOOST_TEST(*table->find("of_program") == base->count());
  BOOST_TEST(*table->find("in_base") == static_cast<unsigned>(base_struct));
  Renderer renderer(table);
  BOOST_TEST(mentions(json_of(renderer, static_cast<int>(*table->find("of_program")), bytes_of(std::uint64_t{1}, std::uint64_t{2})),
                      R"("type_name":"in_base")"));
  BOOST_TEST(!TypeTable::parse(blob));  // its ids mean nothing alone
}

BOOST_AUTO_TEST_CASE(malformed_blobs_are_refused) {
  TypeWriter w;
  w.add_struct("thing", 8, {{"a", w.u64, 0}});
  const auto good = w.bytes();
  BOOST_TEST(TypeTable::parse(good).has_value());
  BOOST_TEST(!TypeTable::parse({}));
  auto blob = good;
  blob[0] = std::byte{0};
  BOOST_TEST(mentions(TypeTable::parse(blob).error().message, "magic"));
  blob = good;
  const std::uint32_t far = 0x00ffffff;
  std::memcpy(blob.data() + 24, &far, sizeof far);  // the first type's name
  BOOST_TEST(mentions(TypeTable::parse(blob).error().message, "libbpf refuses"));
  blob = good;
  const std::uint32_t no_type = 9999;
  btf_header header;
  std::memcpy(&header, good.data(), sizeof header);
  std::memcpy(blob.data() + header.hdr_len + header.type_len - 8, &no_type, sizeof no_type);  // the member's type
  BOOST_TEST(mentions(TypeTable::parse(blob).error().message, "libbpf refuses"));
}

// The made-up kernel's BTF has no struct btf: whoever asks is told so.
BOOST_AUTO_TEST_CASE(a_kernel_without_struct_btf_yields_a_reason) {
  synthetic::SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory).value();
  ProgramTypes types(kernel);
  const auto none = types.at(kernel.memory(), guest.init_task);
  BOOST_REQUIRE(!none);
  BOOST_TEST(mentions(none.error().message, "struct btf"));
  BOOST_TEST(types.kernel()->find("task_struct").has_value());
  BOOST_TEST(types.kernel()->raw() == kernel.types().raw());
}

BOOST_AUTO_TEST_SUITE_END()
