#include "walkers/kernel_memory.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/memory.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::synthetic;

namespace {

constexpr std::uint64_t kBase = 0xffffc90000000000;

// Two virtual neighbours that are none in RAM, then a hole, then a page whose frame is not RAM.
struct Fixture {
  SparseMemory memory;
  PageTableBuilder builder{memory, Gpa(0x1000), false, Gpa(0x100000)};

  Fixture() {
    builder.map(Kva(kBase), Gpa(0x9000));
    builder.map(Kva(kBase + 0x1000), Gpa(0x5000));
    builder.map(Kva(kBase + 0x3000), Gpa(0x7f000000));
    for (std::uint64_t i = 0; i < kPageBytes; i += 8) {
      memory.put(Gpa(0x9000 + i), i);
      memory.put(Gpa(0x5000 + i), 0x1000 + i);
    }
  }
  PagedMemory paged() const { return PagedMemory(memory, builder.tables()); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kernel_memory)

BOOST_FIXTURE_TEST_CASE(reads_across_pages_and_stops_at_the_first_hole, Fixture) {
  const auto kernel = paged();
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + 0xff8)).value() == 0xff8u);
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + 0xffc)).value() == 0x0000100000000000u);
  std::vector<std::byte> out(4 * kPageBytes);
  BOOST_TEST(kernel.read(Kva(kBase + 8), out) == 2 * kPageBytes - 8);
  BOOST_TEST(kernel.read(Kva(kBase + 0x3000), out) == 0u);
  BOOST_TEST(!kernel.get<std::uint64_t>(Kva(kBase + 0x1ffc)));
}

BOOST_FIXTURE_TEST_CASE(errors_name_what_was_read_and_the_first_bad_byte, Fixture) {
  const auto kernel = paged();
  BOOST_TEST(kernel.load<std::uint64_t>(Kva(kBase + 0x1ffc), "x.y").error().message ==
             "cannot read x.y: 0xffffc90000002000: not present at the PTE");
  BOOST_TEST(kernel.load<std::uint8_t>(Kva(kBase + 0x3000), "z").error().message ==
             "cannot read z: 0xffffc90000003000: mapped to 0x7f000000, which is not RAM");
}

BOOST_FIXTURE_TEST_CASE(numbers_are_read_by_their_own_width, Fixture) {
  memory.put(Gpa(0x9100), std::uint64_t{0x1122334455667788});
  const auto kernel = paged();
  const auto number = [&](std::uint64_t bytes) { return kernel.get_number(Kva(kBase), Field{0x100, bytes}); };
  BOOST_TEST(number(1).value() == 0x88u);
  BOOST_TEST(number(2).value() == 0x7788u);
  BOOST_TEST(number(4).value() == 0x55667788u);
  BOOST_TEST(number(8).value() == 0x1122334455667788u);
  for (const std::uint64_t bytes : {0ull, 3ull, 16ull, ~0ull}) BOOST_TEST(!number(bytes));
}

BOOST_FIXTURE_TEST_CASE(strings_end_at_their_nul_or_their_field, Fixture) {
  memory.write(Gpa(0x9200), bytes_of(std::string_view("swapper/0\0rest", 14)));
  const auto kernel = paged();
  BOOST_TEST(kernel.get_string(Kva(kBase + 0x200), 16).value() == "swapper/0");
  BOOST_TEST(kernel.get_string(Kva(kBase + 0x200), 4).value() == "swap");
  BOOST_TEST(kernel.get_string(Kva(kBase), Field{0x200, ~0ull}).value() == "swapper/0");
  // The NUL is the last readable byte; behind it is a hole.
  memory.write(Gpa(0x5ffc), bytes_of(std::string_view("end\0", 4)));
  BOOST_TEST(kernel.get_string(Kva(kBase + 0x1ffc), 16).value() == "end");
  memory.write(Gpa(0x5ffc), bytes_of("endless"));
  BOOST_TEST(!kernel.get_string(Kva(kBase + 0x1ffc), 16));
}

BOOST_FIXTURE_TEST_CASE(a_null_pointer_is_absent, Fixture) {
  const auto kernel = paged();
  BOOST_TEST(!kernel.get_pointer(Kva(kBase), Field{0, 8}));
  BOOST_TEST(kernel.get_pointer(Kva(kBase), Field{8, 8})->value == 8u);
}

// The last table is kept, so a neighbour costs one look into it; what is absent there stays absent, and 2 MiB further on is another table.
BOOST_FIXTURE_TEST_CASE(neighbours_are_found_by_their_table, Fixture) {
  builder.map(Kva(kBase + kLargePage), Gpa(0x5000));
  builder.map(Kva(kBase + 64 * kLargePage), Gpa(0x9000));  // has the same place among the tables that are kept
  const auto kernel = paged();
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase)).value() == 0u);
  const std::uint64_t reads = memory.reads;
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + 0x1008)).value() == 0x1008u);
  BOOST_TEST(memory.reads - reads == 2u);
  BOOST_TEST(!kernel.translate(Kva(kBase + 0x2000)));
  BOOST_TEST(!kernel.get<std::uint64_t>(Kva(kBase + 0x3000)));
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + kLargePage)).value() == 0x1000u);
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + 64 * kLargePage + 8)).value() == 8u);
  BOOST_TEST(!kernel.get<std::uint64_t>(Kva(kBase + 64 * kLargePage + 0x1000)));
  BOOST_TEST(kernel.get<std::uint64_t>(Kva(kBase + 0x1010)).value() == 0x1010u);
}

BOOST_FIXTURE_TEST_CASE(a_hint_may_name_any_address, Fixture) {
  const auto kernel = paged();
  BOOST_TEST(kernel.prefetch(Kva(kBase + 0xff0), 64));
  BOOST_TEST(kernel.prefetch(Kva(kBase + 0x1ff0), 64));  // into the hole
  BOOST_TEST(!kernel.prefetch(Kva(kBase + 0x2000), 64));
  BOOST_TEST(!kernel.prefetch(Kva(kBase + 0x3000), 64));
  BOOST_TEST(!kernel.prefetch(Kva(~std::uint64_t{0}), ~std::size_t{0}));
  BOOST_TEST(!kernel.prefetch(Kva(0x0000800000000000), 8));
}

BOOST_FIXTURE_TEST_CASE(a_read_over_the_top_of_the_address_space_stops_there, Fixture) {
  builder.map(Kva(0xfffffffffffff000), Gpa(0x9000));
  builder.map(Kva(0), Gpa(0x5000));
  std::array<std::byte, 64> out;
  BOOST_TEST(paged().read(Kva(0xffffffffffffffe0), out) == 32u);
}

BOOST_FIXTURE_TEST_CASE(translations_are_cached_and_a_copy_has_its_own, Fixture) {
  builder.map(Kva(kBase + kHugePage), Gpa(0), kHugePage);
  const auto kernel = paged();
  std::array<std::byte, 8> out;
  for (const std::uint64_t at : {kBase, kBase + kHugePage + 0x9000}) {
    BOOST_TEST(kernel.read(Kva(at), out) == out.size());
    const auto reads = memory.reads;
    BOOST_TEST(kernel.read(Kva(at + 16), out) == out.size());
    BOOST_TEST(memory.reads - reads == 1u);
  }
  // 2 MiB pieces of a 1 GiB page do not alias.
  BOOST_TEST(kernel.translate(Kva(kBase + kHugePage + 5 * kLargePage + 7))->value == 5 * kLargePage + 7);
  const auto copy = kernel;
  builder.map(Kva(kBase + 0x40000), Gpa(0x5000));
  BOOST_TEST(copy.get<std::uint64_t>(Kva(kBase + 0x40000)).value() == 0x1000u);
}

BOOST_AUTO_TEST_SUITE_END()
