#include "walkers/bpf/programs.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/bpf.hpp"

using namespace floe;
using namespace floe::walkers;
using bpf::MapType;
using synthetic::BpfGuest;

namespace {

struct Found {
  bpf::ProgramTable programs;
  bpf::MapTable maps;
  bpf::ActiveScheduler active;
};

Found find(const BpfGuest& guest) {
  const auto kernel = guest.open();
  WalkBudget budget;
  auto programs = bpf::find_programs(kernel, budget);
  auto maps = bpf::find_maps(kernel, budget);
  BOOST_REQUIRE(programs && maps);
  const auto active = bpf::active_scheduler(*programs, *maps);
  return {std::move(*programs), std::move(*maps), active};
}

// A struct_ops program of sched_ext.
Kva add_scheduler(BpfGuest& guest, std::uint32_t id, const std::vector<Kva>& maps) {
  const Kva program = guest.add_program(id, bpf::kStructOpsProgram, "enqueue", maps);
  const auto ops = guest.open().types().find("sched_ext_ops").value();
  guest.guest.put(Kva(guest.word(program + guest.offset("bpf_prog.aux"))) + guest.offset("bpf_prog_aux.attach_btf_id"), ops);
  return program;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(programs)

BOOST_AUTO_TEST_CASE(programs_are_found_with_what_they_use) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.name = "x.bss"});
  const Kva first = guest.add_program(3, 1, "filter", {map, Kva(0), map});
  guest.guest.put(first + guest.offset("bpf_prog.tag"), std::uint64_t{0x8877665544332211});
  add_scheduler(guest, 70, {});
  const auto found = find(guest).programs;
  BOOST_TEST(found.complete);
  BOOST_REQUIRE(found.programs.size() == 2u);
  BOOST_TEST(found.programs[0].id == 3u);
  BOOST_TEST(found.programs[0].type == 1u);
  BOOST_TEST(found.programs[0].name == "filter");
  BOOST_TEST(found.programs[0].tag[0] == 0x11);
  BOOST_TEST(found.programs[0].used_maps.size() == 2u);
  BOOST_TEST(!found.programs[0].implements);
  BOOST_TEST(!found.programs[0].stats);
  BOOST_TEST(found.programs[1].implements.value() == "sched_ext_ops");
}

BOOST_AUTO_TEST_CASE(statistics_are_summed_over_cpus_and_do_not_overflow) {
  BpfGuest guest;
  const auto stats = guest.per_cpu_pointer(1024);
  const Kva program = add_scheduler(guest, 1, {});
  guest.guest.put(program + guest.offset("bpf_prog.stats"), stats);
  add_scheduler(guest, 2, {});                                                                // without any
  guest.guest.put(guest.add_program(3, 1, "other") + guest.offset("bpf_prog.stats"), stats);  // of another type
  const auto put = [&](std::uint32_t cpu, std::uint64_t cnt, std::uint64_t nsecs, std::uint64_t misses) {
    const Kva at = guest.per_cpu(stats, cpu);
    guest.guest.put(at + guest.offset("bpf_prog_stats.cnt"), cnt);
    guest.guest.put(at + guest.offset("bpf_prog_stats.nsecs"), nsecs);
    guest.guest.put(at + guest.offset("bpf_prog_stats.misses"), misses);
  };
  put(0, 5, ~std::uint64_t{0}, 1);
  put(1, 7, 100, 2);
  const auto sums = bpf::struct_ops_stats(find(guest).programs);
  BOOST_REQUIRE(sums.size() == 1u);
  BOOST_TEST(sums[0].name == "enqueue");
  BOOST_TEST(sums[0].id == 1u);
  BOOST_TEST(sums[0].cnt == 12u);
  BOOST_TEST(sums[0].nsecs == ~std::uint64_t{0});
  BOOST_TEST(sums[0].misses == 3u);
}

BOOST_AUTO_TEST_CASE(the_scheduler_is_the_object_whose_sections_its_programs_use) {
  BpfGuest guest;
  const Kva other = guest.add_map(1, {.name = "tcp_cc.bss"});
  guest.add_program(1, bpf::kStructOpsProgram, "congest", {other});
  const Kva hash = guest.add_map(2, {.type = MapType::hash, .name = "not.a.section"});
  const Kva data = guest.add_map(3, {.name = "my_sched.data"});
  add_scheduler(guest, 2, {});  // that uses nothing
  add_scheduler(guest, 3, {hash, data});
  const auto active = find(guest).active;
  BOOST_TEST(active.object.value() == "my_sched");
  BOOST_REQUIRE(active.maps.size() == 2u);
  BOOST_TEST(active.maps[1].value == data.value);
}

BOOST_AUTO_TEST_CASE(a_used_map_that_is_in_no_table_does_not_count) {
  BpfGuest guest;
  const Kva gone = guest.add_map(1, {.name = "gone.bss"});
  guest.insert("map_idr", 1, 0);
  add_scheduler(guest, 1, {gone, Kva(0xdead000000000000)});
  BOOST_TEST(!find(guest).active.object);
}

BOOST_AUTO_TEST_CASE(a_struct_ops_map_may_give_the_name_where_no_program_does) {
  BpfGuest guest;
  guest.add_map(1, {.type = MapType::struct_ops, .name = "layered"});
  guest.add_map(2, {.name = "layered.bss"});
  auto active = find(guest).active;
  BOOST_TEST(active.object.value() == "layered");
  BOOST_TEST(active.maps.empty());
  guest.add_map(3, {.name = "layered.bss"});  // one is being replaced by the other
  BOOST_TEST(!find(guest).active.object);
}

BOOST_AUTO_TEST_CASE(torn_programs_cost_nothing_but_themselves) {
  BpfGuest guest;
  const Kva program = guest.add_program(1, bpf::kStructOpsProgram, "wild");
  const Kva aux(guest.word(program + guest.offset("bpf_prog.aux")));
  guest.guest.put(aux + guest.offset("bpf_prog_aux.used_map_cnt"), std::uint32_t{0xffffffff});
  guest.guest.put(aux + guest.offset("bpf_prog_aux.attach_btf_id"), std::uint32_t{0xffffffff});
  guest.guest.put(program + guest.offset("bpf_prog.stats"), std::uint64_t{0xdead000000000000});
  guest.insert("prog_idr", 2, 0xdead000000000000);
  const auto found = find(guest).programs;
  BOOST_REQUIRE(found.programs.size() == 1u);
  BOOST_TEST(found.programs[0].used_maps.empty());
  BOOST_TEST(!found.programs[0].stats);
  BOOST_TEST(!found.complete);
  BOOST_TEST(found.problems.at(0).find("program 2 is unreadable") == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
