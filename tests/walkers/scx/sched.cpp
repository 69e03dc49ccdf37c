#include "walkers/scx/sched.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/scx/opened.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::scx;
using synthetic::ScxGuest;
using synthetic::ScxSpec;

namespace {

constexpr ScxSpec::Generation kGenerations[] = {ScxSpec::Generation::variables, ScxSpec::Generation::sched, ScxSpec::Generation::tree};

}  // namespace

BOOST_AUTO_TEST_SUITE(sched)

BOOST_AUTO_TEST_CASE(an_attached_scheduler_is_described_in_every_generation) {
  for (const auto generation : kGenerations) {
    ScxGuest guest({.generation = generation});
    guest.attach("mine");
    Opened at(guest);
    const auto state = sched_state(at.walk);
    BOOST_REQUIRE(state);
    BOOST_TEST(state->ops_name.value() == "mine");
    BOOST_TEST(state->enable_state.value() == "enabled");
    BOOST_TEST(state->exit_kind == 0u);
    BOOST_TEST(state->exit_kind_name.value() == "none");
    BOOST_TEST(state->watchdog_timeout.value() == ScxGuest::kTimeout);
    BOOST_TEST(state->source.value() == "live");
    BOOST_TEST(state->sched_kva.has_value() == (generation != ScxSpec::Generation::variables));
    BOOST_TEST(!exit_info(at.walk));
  }
}

BOOST_AUTO_TEST_CASE(none_is_attached) {
  for (const auto generation : kGenerations) {
    ScxGuest guest({.generation = generation});
    guest.attach("mine");
    guest.detach();
    Opened at(guest);
    BOOST_TEST(!sched_state(at.walk));
    BOOST_TEST(!exit_info(at.walk));
    BOOST_TEST(sched_tree(at.walk).empty());
    BOOST_TEST(at.walk.problem_count == 0u);
  }
}

BOOST_AUTO_TEST_CASE(bypass_and_aborting_are_the_schedulers_or_the_kernels) {
  ScxGuest tree;
  tree.attach("mine");
  tree.guest.put(tree.sched + tree.guest.offset("scx_sched.bypass_depth"), std::int32_t{2});
  tree.guest.put(tree.sched + tree.guest.offset("scx_sched.aborting"), std::uint8_t{1});
  Opened at(tree);
  BOOST_TEST(sched_state(at.walk)->bypass_depth == 2);
  BOOST_TEST(sched_state(at.walk)->aborting);
  ScxGuest older({.generation = ScxSpec::Generation::sched});
  older.attach("mine");
  older.guest.put(older.guest.symbol("scx_ops_bypass_depth"), std::int32_t{1});
  Opened then(older);
  BOOST_TEST(sched_state(then.walk)->bypass_depth == 1);
  BOOST_TEST(!sched_state(then.walk)->aborting);
}

BOOST_AUTO_TEST_CASE(the_exit_info_is_told_while_it_is_there) {
  for (const auto generation : kGenerations) {
    ScxGuest guest({.generation = generation});
    guest.attach("mine");
    const std::string dump(40'000, 'd');  // longer than a page, longer than a chunk
    guest.exit(1026, "runnable task stall", "stuck[7] failed to run for 5.008s", dump);
    Opened at(guest);
    const auto info = exit_info(at.walk);
    BOOST_REQUIRE(info);
    BOOST_TEST(info->kind == 1026u);
    BOOST_TEST(info->reason == "runnable task stall");
    BOOST_TEST(info->msg == "stuck[7] failed to run for 5.008s");
    BOOST_TEST(info->dump == dump);
    BOOST_TEST(!info->dump_truncated);
    BOOST_REQUIRE(info->backtrace.size() == 1u);
    BOOST_TEST(info->backtrace[0].starts_with("osq_lock+0x12"));
    BOOST_TEST(sched_state(at.walk)->exit_kind_name.value() == "done");
    BOOST_TEST(sched_state(at.walk)->enable_state.value() == "disabling");
  }
}

BOOST_AUTO_TEST_CASE(a_dump_that_the_kernel_cut_is_truncated) {
  ScxGuest guest;
  guest.attach("mine");
  guest.exit(1025, "scx_bpf_error", "", "CPU states\n\n~~~~ TRUNCATED ~~~~\n");
  Opened at(guest);
  BOOST_TEST(exit_info(at.walk)->dump_truncated);
}

BOOST_AUTO_TEST_CASE(wild_pointers_in_the_exit_info_cost_their_own_text) {
  ScxGuest guest;
  guest.attach("mine");
  guest.exit(1024, "runtime error", "kept", "lost");
  const Kva info(guest.get(guest.sched + guest.guest.offset("scx_sched.exit_info")));
  guest.guest.put(info + guest.guest.offset("scx_exit_info.dump"), std::uint64_t{0xdead000000000000});
  guest.guest.put(info + guest.guest.offset("scx_exit_info.bt_len"), ~std::uint32_t{0});
  Opened at(guest);
  const auto result = exit_info(at.walk);
  BOOST_TEST(result->msg == "kept");
  BOOST_TEST(result->dump.empty());
  BOOST_TEST(result->backtrace.size() <= 64u);
}

BOOST_AUTO_TEST_CASE(sub_schedulers_are_a_tree) {
  ScxGuest guest;
  guest.attach("root");
  const Kva left = guest.add_child(guest.sched, 1, "left", "/left");
  const Kva right = guest.add_child(guest.sched, 1, "right", "/right");
  const Kva deep = guest.add_child(left, 2, "deep", "/left/deep");
  Opened at(guest);
  const auto tree = sched_tree(at.walk);
  BOOST_REQUIRE(tree.size() == 4u);
  BOOST_TEST(!tree[0].parent_kva);
  BOOST_TEST(tree[1].sched_kva == left.value);
  BOOST_TEST(tree[1].cgroup_path.value() == "/left");
  BOOST_TEST(tree[2].sched_kva == right.value);
  BOOST_TEST(tree[3].sched_kva == deep.value);
  BOOST_TEST(tree[3].parent_kva.value() == left.value);
  BOOST_TEST(tree[3].level == 2);
  BOOST_TEST(tree[3].ops_name == "deep");
}

BOOST_AUTO_TEST_CASE(a_scheduler_that_is_its_own_child_ends_the_tree) {
  ScxGuest guest;
  guest.attach("root");
  const Kva list = guest.sched + guest.guest.offset("scx_sched.children");
  const Kva sibling = guest.sched + guest.guest.offset("scx_sched.sibling");
  guest.guest.put(list, sibling.value);
  guest.guest.put(sibling, list.value);
  guest.guest.put(sibling + 8, list.value);
  Opened at(guest);
  BOOST_TEST(sched_tree(at.walk).size() == 1u);
  BOOST_TEST(any_mentions(at.walk.problems, "does not end"));
}

BOOST_AUTO_TEST_CASE(kinds_have_the_kernels_names) {
  BOOST_TEST(exit_kind_name(1026) == "runnable task stall");
  BOOST_TEST(exit_kind_name(1025) == "scx_bpf_error");
  BOOST_TEST(exit_kind_name(77) == "kind 77");
  BOOST_TEST(exit_kind_of("scx_bpf_error").value() == 1025u);
  BOOST_TEST(exit_kind_of("runnable task stall").value() == 1026u);
  BOOST_TEST(!exit_kind_of("kind 77"));
  BOOST_TEST(is_error(1024));
  BOOST_TEST(!is_error(67));
}

BOOST_AUTO_TEST_SUITE_END()
