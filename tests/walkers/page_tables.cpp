#include "walkers/page_tables.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/memory.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::synthetic;

namespace {

constexpr Gpa kRoot{0x1000};
constexpr Gpa kPool{0x100000};

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(page_tables)

BOOST_AUTO_TEST_CASE(translates_each_page_size_at_both_depths) {
  for (const bool five_levels : {false, true}) {
    SparseMemory memory;
    PageTableBuilder builder(memory, kRoot, five_levels, kPool);
    const std::uint64_t base = five_levels ? 0xff11000000000000 : 0xffff888000000000;
    builder.map(Kva(base + 0x5000), Gpa(0x7000));
    builder.map(Kva(base + kLargePage), Gpa(0x40000000), kLargePage);
    builder.map(Kva(base + 3 * kHugePage), Gpa(0x4'0000'0000), kHugePage);
    const auto tables = builder.tables();

    const auto small = tables.translate(Kva(base + 0x5abc));
    BOOST_REQUIRE(small);
    BOOST_TEST(small->gpa.value == 0x7abcu);
    BOOST_TEST(small->page_bytes == kSmallPage);
    const auto large = tables.translate(Kva(base + kLargePage + 0x1fffff));
    BOOST_REQUIRE(large);
    BOOST_TEST(large->gpa.value == 0x401fffffu);
    BOOST_TEST(large->page_bytes == kLargePage);
    const auto huge = tables.translate(Kva(base + 3 * kHugePage + 0x12345678));
    BOOST_REQUIRE(huge);
    BOOST_TEST(huge->gpa.value == 0x4'1234'5678u);
    BOOST_TEST(huge->page_bytes == kHugePage);

    BOOST_TEST(!tables.translate(Kva(base + 0x6000)));
    BOOST_TEST(mentions(tables.explain(Kva(base + 0x6000)), "not present at the PTE"));
    BOOST_TEST(mentions(tables.explain(Kva(base + 2 * kLargePage)), "not present at the PMD"));
    BOOST_TEST(mentions(tables.explain(Kva(base + 2 * kHugePage)), "not present at the PUD"));
    BOOST_TEST(mentions(tables.explain(Kva(0)), five_levels ? "not present at the PGD" : "not present at the P4D"));
  }
}

BOOST_AUTO_TEST_CASE(an_address_that_is_not_canonical_is_not_walked) {
  SparseMemory memory;
  PageTableBuilder four(memory, kRoot, false, kPool);
  four.map(Kva(0x0000'8000'0000'0000 ^ 0xffff'0000'0000'0000), Gpa(0x7000));
  BOOST_TEST(four.tables().translate(Kva(0xffff'8000'0000'0000)).has_value());
  for (const std::uint64_t address : {0x0000'8000'0000'0000u, 0xfffe'8000'0000'0000u, 0xdead'0000'0000'0100u}) {
    BOOST_TEST(!four.tables().translate(Kva(address)));
    BOOST_TEST(mentions(four.tables().explain(Kva(address)), "not a canonical address"));
  }
  const PageTables five(memory, kRoot, true);
  BOOST_TEST(mentions(five.explain(Kva(0x0100'0000'0000'0000)), "not a canonical address"));
  BOOST_TEST(!mentions(five.explain(Kva(0x0000'8000'0000'0000)), "not a canonical address"));
}

BOOST_AUTO_TEST_CASE(the_low_bits_of_a_raw_cr3_are_ignored) {
  SparseMemory memory;
  PageTableBuilder builder(memory, kRoot, false, kPool);
  builder.map(Kva(0x400000), Gpa(0x7000));
  BOOST_TEST(PageTables(memory, kRoot + 0x867, false).translate(Kva(0x400123))->gpa.value == 0x7123u);
}

BOOST_AUTO_TEST_CASE(flag_bits_do_not_leak_into_the_frame) {
  SparseMemory memory;
  PageTableBuilder builder(memory, kRoot, false, kPool);
  builder.map(Kva(0x400000), Gpa(0x7000));
  memory.put(builder.entry(Kva(0x400000), 1), std::uint64_t{0xfff0000000007fff});
  BOOST_TEST(builder.tables().translate(Kva(0x400001))->gpa.value == 0x7001u);
  // The PAT bit of a large page stands where a small one has its frame.
  builder.map(Kva(0x40000000), Gpa(0x600000 | 0x1000), kLargePage);
  BOOST_TEST(builder.tables().translate(Kva(0x40000001))->gpa.value == 0x600001u);
}

BOOST_AUTO_TEST_CASE(tables_that_map_themselves_end) {
  SparseMemory memory;
  for (std::uint64_t slot = 0; slot < 512; ++slot) memory.put(kRoot + 8 * slot, kRoot.value | 0x63);
  for (const bool five_levels : {false, true}) {
    const PageTables tables(memory, kRoot, five_levels);
    const std::uint64_t reads = memory.reads;
    BOOST_TEST(tables.translate(Kva(0xffffffff81000010))->gpa.value == 0x1010u);
    BOOST_TEST(memory.reads - reads == (five_levels ? 5u : 4u));
  }
}

BOOST_AUTO_TEST_CASE(a_table_outside_of_ram_is_named) {
  SparseMemory memory;
  PageTableBuilder builder(memory, kRoot, false, kPool);
  memory.put(builder.entry(Kva(0x400000), 2), std::uint64_t{0x000f'ffff'ffff'f063});
  BOOST_TEST(!builder.tables().translate(Kva(0x400000)));
  BOOST_TEST(mentions(builder.tables().explain(Kva(0x400000)), "its PTE table at 0xffffffffff000 is not RAM"));
  BOOST_TEST(!PageTables(memory, Gpa(0x9000000), false).translate(Kva(0)));
}

BOOST_AUTO_TEST_CASE(the_page_size_bit_is_refused_where_no_page_is_that_large) {
  for (const bool five_levels : {false, true}) {
    SparseMemory memory;
    PageTableBuilder builder(memory, kRoot, five_levels, kPool);
    memory.put(builder.entry(Kva(0x400000), 4), std::uint64_t{0x70e3});
    BOOST_TEST(!builder.tables().translate(Kva(0x400000)));
    BOOST_TEST(mentions(builder.tables().explain(Kva(0x400000)), "reserved page-size bit"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
