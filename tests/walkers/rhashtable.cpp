#include "walkers/rhashtable.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/scx/opened.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::scx;
using synthetic::ScxGuest;

namespace {

// The ids of the DSQs in the table, sorted.
std::vector<std::uint64_t> ids(const ScxGuest& guest, Opened& at, bool* whole = nullptr) {
  std::vector<std::uint64_t> found;
  const auto offset = guest.guest.offset("scx_dispatch_q.hash_node");
  const auto walked = walk_rhashtable(at.walk.memory, at.walk.layout.hash.value(), guest.dsq_hash, at.budget, [&](Kva head) {
    found.push_back(guest.get(head - offset + guest.guest.offset("scx_dispatch_q.id")));
    return true;
  });
  for (const auto& problem : walked.problems) at.walk.problem(problem);
  if (whole != nullptr) *whole = walked.complete;
  std::sort(found.begin(), found.end());
  return found;
}

using Ids = std::vector<std::uint64_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(rhashtable)

BOOST_AUTO_TEST_CASE(every_element_of_every_chain_is_visited) {
  ScxGuest guest;
  guest.attach("mine");
  for (std::uint64_t id = 1; id <= 9; ++id) guest.add_user_dsq(id, static_cast<std::uint32_t>(id % 3));
  Opened at(guest);
  bool whole = false;
  BOOST_TEST(ids(guest, at, &whole) == (Ids{1, 2, 3, 4, 5, 6, 7, 8, 9}), boost::test_tools::per_element());
  BOOST_TEST(whole);
}

BOOST_AUTO_TEST_CASE(while_it_is_resized_elements_of_both_tables_are_visited_once) {
  ScxGuest guest;
  guest.attach("mine");
  for (std::uint64_t id = 1; id <= 4; ++id) guest.add_user_dsq(id, 0);
  const Kva future = guest.add_future_table(8);
  const Kva moved = guest.new_dsq(5);
  guest.put_in(future, 2, moved);
  guest.put_in(future, 3, guest.new_dsq(7));
  // A walker on the old chain is led into the new one by an element that has just moved.
  const Kva old = guest.new_dsq(6);
  guest.put_in(guest.bucket_table, 1, old);
  guest.guest.put(old + guest.guest.offset("scx_dispatch_q.hash_node"), (moved + guest.guest.offset("scx_dispatch_q.hash_node")).value);
  Opened at(guest);
  BOOST_TEST(ids(guest, at) == (Ids{1, 2, 3, 4, 5, 6, 7}), boost::test_tools::per_element());
}

// nest 2: a top page of 4 entries, each to a page of 16/4 buckets.
BOOST_AUTO_TEST_CASE(a_table_in_pages_is_walked_through_its_tree) {
  ScxGuest guest;
  guest.attach("mine");
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.size"), std::uint32_t{16});
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.nest"), std::uint32_t{2});
  const Kva top = guest.guest.allocate(kPageBytes);
  const Kva leaf = guest.guest.allocate(kPageBytes);
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.buckets"), top.value);
  guest.guest.put(top + 8 * 3, leaf.value);
  const Kva dsq = guest.new_dsq(77);
  const Kva node = dsq + guest.guest.offset("scx_dispatch_q.hash_node");
  guest.guest.put(node, std::uint64_t{1});
  guest.guest.put(leaf + 8 * 3, node.value);
  // Behind the last bucket of the leaf: none of the table's.
  const Kva stray = guest.new_dsq(78);
  guest.guest.put(leaf + 8 * 4, (stray + guest.guest.offset("scx_dispatch_q.hash_node")).value);
  Opened at(guest);
  BOOST_TEST(ids(guest, at) == (Ids{77}), boost::test_tools::per_element());
}

// 2^19 buckets: two entries at the top, 512 in the page below, 512 buckets in the last.
BOOST_AUTO_TEST_CASE(a_deeper_tree_has_a_page_of_pages) {
  ScxGuest guest;
  guest.attach("mine");
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.size"), std::uint32_t{1u << 19});
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.nest"), std::uint32_t{1});
  const Kva top = guest.guest.allocate(kPageBytes);
  const Kva middle = guest.guest.allocate(kPageBytes);
  const Kva leaf = guest.guest.allocate(kPageBytes);
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.buckets"), top.value);
  guest.guest.put(top + 8, middle.value);
  guest.guest.put(middle + 8 * 511, leaf.value);
  const Kva node = guest.new_dsq(79) + guest.guest.offset("scx_dispatch_q.hash_node");
  guest.guest.put(node, std::uint64_t{1});
  guest.guest.put(leaf + 8 * 511, node.value);
  Opened at(guest);
  BOOST_TEST(ids(guest, at) == (Ids{79}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(absurd_tables_cost_no_more_than_the_budget) {
  ScxGuest guest;
  guest.attach("mine");
  guest.add_user_dsq(1, 0);
  const Kva size = guest.bucket_table + guest.guest.offset("bucket_table.size");
  for (const std::uint32_t buckets : {1u << 30, 0xffffffffu, 0u}) {
    guest.guest.put(size, buckets);
    Opened at(guest, 50);
    bool whole = true;
    ids(guest, at, &whole);
    BOOST_TEST(!whole);
    BOOST_TEST(at.walk.problem_count > 0u);
    BOOST_TEST(at.budget.taken() <= 50u);
  }
}

BOOST_AUTO_TEST_CASE(loops_of_elements_and_of_tables_end) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva first = guest.add_user_dsq(1, 0);
  const Kva node = first + guest.guest.offset("scx_dispatch_q.hash_node");
  guest.guest.put(node, node.value);
  guest.guest.put(guest.bucket_table + guest.guest.offset("bucket_table.future_tbl"), guest.bucket_table.value);
  Opened at(guest, 100);
  bool whole = true;
  BOOST_TEST(ids(guest, at, &whole) == (Ids{1}), boost::test_tools::per_element());
  BOOST_TEST(!whole);
  BOOST_TEST(any_mentions(at.walk.problems, "its own successor"));
  BOOST_TEST(at.budget.taken() < 20u);
}

BOOST_AUTO_TEST_CASE(a_wild_element_costs_its_chain_alone) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva first = guest.add_user_dsq(1, 0);
  guest.guest.put(first + guest.guest.offset("scx_dispatch_q.hash_node"), std::uint64_t{0xdead000000000100});
  guest.add_user_dsq(2, 1);
  Opened at(guest);
  bool whole = true;
  BOOST_TEST(ids(guest, at, &whole) == (Ids{1, 2}), boost::test_tools::per_element());
  BOOST_TEST(!whole);
  BOOST_TEST(any_mentions(at.walk.problems, "0xdead000000000100"));
}

BOOST_AUTO_TEST_SUITE_END()
