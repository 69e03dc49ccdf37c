#include "walkers/xarray.hpp"

#include <boost/test/unit_test.hpp>
#include <utility>
#include <vector>

#include "tests/walkers/synthetic/bpf.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::BpfGuest;

namespace {

using Entries = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

struct Found {
  Entries entries;
  XarrayWalk walk;
};

Found walk_maps(const BpfGuest& guest, WalkBudget budget = WalkBudget(10'000)) {
  const auto kernel = guest.open();
  Found found;
  auto walk = walk_idr(kernel, guest.guest.symbol("map_idr"), budget, [&](std::uint64_t id, Kva pointer) {
    found.entries.emplace_back(id, pointer.value);
    return true;
  });
  BOOST_REQUIRE_MESSAGE(walk, walk.error().message);
  found.walk = std::move(*walk);
  return found;
}

Kva head_of(const BpfGuest& guest) {
  return guest.guest.symbol("map_idr") + guest.offset("idr.idr_rt") + guest.offset("xarray.xa_head");
}

Kva node_behind(const BpfGuest& guest, Kva slot) {
  return Kva(guest.word(slot) & ~std::uint64_t{3});
}

Kva slot_of(const BpfGuest& guest, Kva node, unsigned index) {
  return node + guest.offset("xa_node.slots") + 8 * index;
}

constexpr std::uint64_t kPointer = 0xffff888000001000;

}  // namespace

BOOST_AUTO_TEST_SUITE(xarray)

BOOST_AUTO_TEST_CASE(an_empty_tree_has_nothing) {
  const auto found = walk_maps(BpfGuest());
  BOOST_TEST(found.entries.empty());
  BOOST_TEST(found.walk.complete);
}

BOOST_AUTO_TEST_CASE(a_single_entry_needs_no_node) {
  BpfGuest guest;
  guest.guest.put(head_of(guest), kPointer);
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{0, kPointer}}));
}

BOOST_AUTO_TEST_CASE(ids_are_found_wherever_they_lie) {
  BpfGuest guest;
  // The counter of an IDR that wrapped says nothing of those above it.
  guest.guest.put(guest.guest.symbol("map_idr") + guest.offset("idr.idr_next"), std::uint32_t{3});
  const Entries expected = {{0, kPointer},       {2, kPointer + 8},     {63, kPointer + 16},
                            {64, kPointer + 24}, {4095, kPointer + 32}, {200'000, kPointer + 40}};
  for (const auto& [id, pointer] : expected) guest.insert("map_idr", static_cast<std::uint32_t>(id), pointer);
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == expected));
  BOOST_TEST(found.walk.complete);
}

BOOST_AUTO_TEST_CASE(the_base_of_the_ids_is_added) {
  BpfGuest guest;
  guest.guest.put(guest.guest.symbol("map_idr") + guest.offset("idr.idr_base"), std::uint32_t{1});
  guest.insert("map_idr", 5, kPointer);
  BOOST_TEST((walk_maps(guest).entries == Entries{{6, kPointer}}));
}

BOOST_AUTO_TEST_CASE(entries_of_the_trees_own_and_numbers_are_no_pointers) {
  BpfGuest guest;
  guest.insert("map_idr", 1, kPointer);
  guest.insert("map_idr", 2, 1 << 2 | 2);    // a sibling of slot 1
  guest.insert("map_idr", 3, 256 << 2 | 2);  // retry
  guest.insert("map_idr", 4, 257 << 2 | 2);  // reserved
  guest.insert("map_idr", 5, 77 << 1 | 1);   // the number 77
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{1, kPointer}}));
  BOOST_TEST(found.walk.complete);
}

BOOST_AUTO_TEST_CASE(a_tree_that_loops_ends) {
  BpfGuest guest;
  guest.insert("map_idr", 1, kPointer);
  const Kva top = node_behind(guest, head_of(guest));
  guest.guest.put(slot_of(guest, top, 3), top.value | 2);  // its own shift is not 6 less
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{1, kPointer}}));
  BOOST_TEST(!found.walk.complete);
  BOOST_REQUIRE(found.walk.problems.size() == 1u);
  BOOST_TEST(found.walk.problems[0].find("is in the tree twice") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_shift_that_does_not_fall_by_six_is_refused) {
  BpfGuest guest;
  guest.insert("map_idr", 1, kPointer);
  guest.insert("map_idr", 100, kPointer + 8);
  const Kva top = node_behind(guest, head_of(guest));
  const Kva middle = node_behind(guest, slot_of(guest, top, 0));
  const Kva leaf = node_behind(guest, slot_of(guest, middle, 1));
  guest.guest.put(leaf + guest.offset("xa_node.shift"), std::uint8_t{6});
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{1, kPointer}}));
  BOOST_TEST(!found.walk.complete);
  guest.guest.put(top + guest.offset("xa_node.shift"), std::uint8_t{200});
  BOOST_TEST(walk_maps(guest).entries.empty());
}

BOOST_AUTO_TEST_CASE(nodes_that_share_their_children_do_not_multiply_them) {
  BpfGuest guest;
  guest.insert("map_idr", 1, kPointer);
  const Kva top = node_behind(guest, head_of(guest));
  for (unsigned i = 1; i < 64; ++i) guest.guest.put(slot_of(guest, top, i), guest.word(slot_of(guest, top, 0)));
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{1, kPointer}}));
  BOOST_TEST(found.walk.problem_count == 63u);
}

BOOST_AUTO_TEST_CASE(an_unreadable_node_costs_what_is_below_it) {
  BpfGuest guest;
  guest.insert("map_idr", 1, kPointer);
  guest.insert("map_idr", 9000, kPointer + 8);
  const Kva top = node_behind(guest, head_of(guest));
  guest.guest.put(slot_of(guest, top, 0), std::uint64_t{0xdead000000000100 | 2});
  const auto found = walk_maps(guest);
  BOOST_TEST((found.entries == Entries{{9000, kPointer + 8}}));
  BOOST_TEST(!found.walk.complete);
}

BOOST_AUTO_TEST_CASE(a_walk_keeps_to_its_budget_and_its_visitor) {
  BpfGuest guest;
  for (std::uint32_t id = 0; id < 50; ++id) guest.insert("map_idr", id, kPointer + 8 * id);
  const auto found = walk_maps(guest, WalkBudget(13));
  BOOST_TEST(found.entries.size() == 10u);  // three nodes
  BOOST_TEST(!found.walk.complete);

  WalkBudget budget;
  int calls = 0;
  const auto kernel = guest.open();
  const auto stopped = walk_idr(kernel, guest.guest.symbol("map_idr"), budget, [&](std::uint64_t, Kva) { return ++calls < 4; });
  BOOST_REQUIRE(stopped);
  BOOST_TEST(calls == 4);
  BOOST_TEST(!stopped->complete);
}

BOOST_AUTO_TEST_SUITE_END()
