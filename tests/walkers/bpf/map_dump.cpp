// dump_maps() over a whole guest: a scheduler with sections, an arena and its allocators, and maps with and without types.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/test/unit_test.hpp>

#include "base/json_writer.hpp"
#include "tests/walkers/synthetic/bpf_scheduler.hpp"
#include "walkers/bpf/allocators.hpp"
#include "walkers/bpf/arena_index.hpp"
#include "walkers/bpf/dump.hpp"
#include "walkers/bpf/map_renderer.hpp"
#include "walkers/render/json_sink.hpp"
#include "walkers/render/type_table.hpp"

using namespace floe;
using namespace floe::walkers;
using bpf::MapType;
using bpf::NoAllocations;
using synthetic::BpfGuest;
using synthetic::Scheduler;
using synthetic::TypeWriter;

namespace {

const render::Struct& as_struct(const render::Value& value) {
  BOOST_REQUIRE(std::holds_alternative<render::Struct>(value.v));
  return std::get<render::Struct>(value.v);
}

const render::Value& member(const render::Value& value, const std::string& name) {
  for (const auto& named : as_struct(value).members)
    if (named.name == name) return named.value;
  throw std::logic_error("no member " + name);
}

std::int64_t pid_of(const render::Value& value) {
  return std::get<render::Int>(member(value, "pid").v).value;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(map_dump)

BOOST_AUTO_TEST_CASE(a_scheduler_is_shown_whole) {
  Scheduler scheduler;
  scheduler.add_slot(0, 0, 41);
  scheduler.add_slot(100, kPageBytes - 12, 42);  // across two pages
  scheduler.add_task_data(3);

  const auto dump = scheduler.dump();
  BOOST_TEST(dump.active_obj_name.value() == "my_sched");
  BOOST_TEST(dump.active_map_kvas.size() == 2u);
  BOOST_TEST(!dump.sdt_alloc_unavailable.has_value());
  BOOST_REQUIRE(dump.sdt_allocations.size() == 1u);
  const auto& pool = dump.sdt_allocations[0];
  BOOST_TEST(pool.allocator_name == "scx_task_allocator");
  BOOST_TEST(pool.elem_size == Scheduler::kSlotBytes);
  BOOST_TEST(pool.target_type_id == static_cast<std::uint32_t>(scheduler.program.task_ctx));
  BOOST_TEST(pool.skipped_subtrees == 0u);
  BOOST_REQUIRE(pool.entries.size() == 2u);
  BOOST_TEST(pool.entries[1].idx == 100);
  BOOST_TEST(pool.entries[1].genn == 3);
  BOOST_TEST(pool.entries[1].user_addr == 8 * kPageBytes + kPageBytes - 12);
  BOOST_TEST(pid_of(pool.entries[0].payload) == 41);
  BOOST_TEST(pid_of(pool.entries[1].payload) == 42);

  BOOST_REQUIRE(dump.scx_static_ranges.ranges.size() == 1u);
  BOOST_TEST(dump.scx_static_ranges.ranges[0].instance_name == "scx_area");
  BOOST_TEST(dump.scx_static_ranges.ranges[0].start_low32 == 6 * kPageBytes);
  BOOST_TEST(dump.scx_static_ranges.ranges[0].size == 100u);

  BOOST_REQUIRE(dump.maps.size() == 3u);
  BOOST_TEST(dump.maps[0].arena->pages.size() >= 16u);
  BOOST_TEST(as_struct(*dump.maps[1].value).type_name.value() == ".bss");
  BOOST_TEST(dump.maps[1].value_bytes.size() == dump.maps[1].value_size);
  BOOST_TEST(!dump.maps[1].value_text);
  const auto& entries = dump.maps[2].entries;
  BOOST_REQUIRE(entries.size() == 1u);
  BOOST_TEST(std::get<render::Int>(entries[0].key->v).value == 7);
  BOOST_TEST(std::get<render::Uint>(member(*entries[0].value, "count").v).value == 9u);
  const auto& pointer = std::get<render::Ptr>(member(*entries[0].value, "data").v);
  BOOST_TEST(pointer.deref_skipped_reason.value() == "already rendered in sdt_allocations");
  BOOST_TEST(pid_of(*entries[0].payload) == 41);
  BOOST_TEST(entries[0].value_bytes.size() == 16u);
}

// What is written while it is found is what the dump has, without the dump's limit.
BOOST_AUTO_TEST_CASE(maps_are_written_as_they_are_read) {
  Scheduler scheduler;
  scheduler.add_task_data(3);
  const auto array = scheduler.guest.add_map(4, {.name = "numbers", .value_size = 16, .max_entries = 3});
  scheduler.set_btf(array, 0, scheduler.program.task_ctx);
  const auto kernel = scheduler.guest.open();
  const bpf::MapReader reader(kernel);
  const bpf::ArenaIndex index(kernel.memory());
  render::ProgramTypes types(kernel);
  const bpf::DumpOptions options{.limits = {.array_keys = 1}};
  bpf::MapRenderer renderer(reader, index, types, options);
  WalkBudget budget;
  const auto table = bpf::find_maps(kernel, budget);
  BOOST_REQUIRE(table.has_value());
  const auto written = [&](const std::string& name) {
    JsonWriter json;
    for (const auto& map : table->maps)
      if (map.name == name) {
        const auto walked = renderer.write(map, json);
        json.number(walked.elements).boolean(walked.complete).string(fmt::format("{}", fmt::join(walked.notes, "; ")));
      }
    return std::move(json).take();
  };
  const auto shown = [&](const std::optional<render::Value>& value) {
    JsonWriter json;
    render::write(*value, json);
    return std::move(json).take();
  };
  const auto hash = std::find_if(table->maps.begin(), table->maps.end(), [](const auto& map) { return map.name == "task_data"; });
  const auto dumped = renderer.render(*hash);
  BOOST_REQUIRE(dumped.entries.size() == 1u);
  BOOST_TEST(written("task_data") ==
             "[{\"key\":" + shown(dumped.entries[0].key) + ",\"value\":" + shown(dumped.entries[0].value) + R"(}],1,true,"")");
  const std::string numbers = written("numbers");
  BOOST_TEST(numbers.ends_with(R"(],3,true,"")"));
  BOOST_TEST(numbers.find(R"({"key":{"kind":"bytes","hex":"02 00 00 00"},"value":{"kind":"struct","type_name":"task_ctx")") !=
             numbers.npos);
  BOOST_TEST(written("arena") == R"([],0,false,"a map of type arena has no keys and values")");
}

BOOST_AUTO_TEST_CASE(slots_are_capped_and_wild_trees_cost_what_they_hide) {
  Scheduler scheduler;
  for (unsigned i = 0; i < 10; ++i) scheduler.add_slot(i, i * 64, static_cast<std::int32_t>(i));
  auto dump = scheduler.dump({.limits = {.allocator_slots = 9}});
  BOOST_TEST(dump.sdt_allocations[0].entries.size() == 9u);
  BOOST_TEST(dump.sdt_allocations[0].truncated);

  scheduler.put(1, 8 * 5, Scheduler::user(0));   // the root again
  scheduler.put(1, 8 * 6, Scheduler::user(90));  // not mapped
  scheduler.put(3, 8 * 7, Scheduler::user(7));   // no chunk
  scheduler.put(5, 8 * 3, Scheduler::user(99));  // a slot that is not mapped
  scheduler.put(5, 8 * 4, Scheduler::user(8));   // slot 0 once more
  dump = scheduler.dump();
  const auto& pool = dump.sdt_allocations[0];
  BOOST_TEST(pool.skipped_subtrees == 3u);
  BOOST_TEST(!pool.truncated);
  BOOST_REQUIRE(pool.entries.size() == 9u);
  BOOST_TEST(std::get<render::Unsupported>(pool.entries[3].payload.v).reason.find("0 of 24 bytes are readable") == 0u);
  scheduler.put(4, 64, 513);  // more free than there are
  BOOST_TEST(scheduler.dump().sdt_allocations[0].entries.empty());
}

BOOST_AUTO_TEST_CASE(each_reason_for_no_allocations_can_be_met) {
  const auto reason = [](const Scheduler& scheduler, const bpf::DumpOptions& options = {}) {
    const auto dump = scheduler.dump(options);
    BOOST_TEST(dump.sdt_allocations.empty());
    return dump.sdt_alloc_unavailable.value();
  };
  {
    const Scheduler late;
    const bpf::DumpOptions over{.deadline = WalkBudget::Clock::now()};
    BOOST_TEST((reason(late, over) == NoAllocations::deadline));
    const auto dump = late.dump(over);
    BOOST_TEST(dump.maps.empty());
    BOOST_TEST(dump.maps_truncated == 2u);
    BOOST_TEST(dump.active_obj_name.value() == "my_sched");
  }
  {
    Scheduler unaligned;
    unaligned.guest.guest.put(unaligned.arena + unaligned.guest.offset("bpf_arena.user_vm_start"), Scheduler::kUser + 4096);
    BOOST_TEST((reason(unaligned) == NoAllocations::unaligned));
  }
  {
    Scheduler no_section;
    no_section.guest.put_pointer(no_section.bss, "bpf_map.btf", Kva(0));
    BOOST_TEST((reason(no_section) == NoAllocations::no_bss));
  }
  {
    Scheduler no_types;
    no_types.guest.put_pointer(no_types.bss, "bpf_map.btf", no_types.pages);
    BOOST_TEST((reason(no_types) == NoAllocations::no_bss));
  }
  {
    Scheduler no_area;
    no_area.guest.put_pointer(no_area.arena, "bpf_arena.kern_vm", Kva(0));
    BOOST_TEST((reason(no_area) == NoAllocations::no_arena));
  }
  {
    Scheduler no_arena;
    no_arena.guest.insert("map_idr", 1, 0);
    BOOST_TEST((reason(no_arena) == NoAllocations::no_arena));
  }
  BOOST_TEST((reason(Scheduler(false)) == NoAllocations::no_type));
  Scheduler empty;
  empty.variable(Scheduler::Program::kAllocator + 8, 0);
  empty.variable(Scheduler::Program::kAllocator + 32, 0);
  BOOST_TEST((reason(empty) == NoAllocations::no_instance));
}

BOOST_AUTO_TEST_CASE(a_slot_size_that_cannot_be_is_reported_without_slots) {
  Scheduler scheduler;
  scheduler.add_slot(0, 0, 1);
  scheduler.add_task_data(3);  // whose pointer is one of that allocator
  for (const std::uint64_t size : {std::uint64_t{8}, std::uint64_t{4097}, ~std::uint64_t{0}}) {
    scheduler.variable(Scheduler::Program::kAllocator + 8, size);
    const auto dump = scheduler.dump();
    BOOST_REQUIRE(dump.sdt_allocations.size() == 1u);
    BOOST_TEST(dump.sdt_allocations[0].elem_size == size);
    BOOST_TEST(dump.sdt_allocations[0].entries.empty());
    BOOST_TEST(!dump.maps.at(2).entries.at(0).payload.has_value());
  }
}

BOOST_AUTO_TEST_CASE(implausible_static_areas_are_counted) {
  Scheduler scheduler;
  for (const auto& [at, value] : {std::pair(0u, std::uint64_t{0}), std::pair(0u, std::uint64_t{1} << 32), std::pair(8u, std::uint64_t{0}),
                                  std::pair(16u, std::uint64_t{9000})}) {
    Scheduler bad;
    bad.variable(Scheduler::Program::kArea + at, value);
    const auto areas = bad.dump().scx_static_ranges;
    BOOST_TEST(areas.ranges.empty());
    BOOST_TEST(areas.skipped == 1u);
  }
}

BOOST_AUTO_TEST_CASE(caps_say_what_they_cut_off) {
  BpfGuest guest;
  const Kva hash = guest.add_map(1, {.type = MapType::hash, .key_size = 8, .max_entries = 16});
  guest.add_buckets(hash, 16);
  for (std::uint32_t i = 0; i < 5; ++i) guest.add_element(hash, i, i, i);
  guest.add_map(2, {.value_size = 8, .max_entries = 5});
  guest.add_map(3, {.type = MapType::percpu_array, .max_entries = 5});
  const auto kernel = guest.open();
  auto dump = bpf::dump_maps(kernel, {.limits = {.array_keys = 4, .percpu_keys = 4, .hash_entries = 4}});
  BOOST_REQUIRE(dump.maps.size() == 3u);
  BOOST_TEST(dump.maps[0].entries.size() == 4u);
  BOOST_TEST(dump.maps[0].error.value() == "truncated at 4 entries, max_entries is 16");
  BOOST_TEST(dump.maps[1].array_entries.size() == 4u);
  BOOST_TEST(dump.maps[2].percpu_entries.size() == 4u);
  dump = bpf::dump_maps(kernel, {.limits = {.array_keys = 5, .percpu_keys = 0, .hash_entries = 5}});
  for (const auto& map : dump.maps) BOOST_TEST(!map.error.has_value());
  BOOST_TEST(dump.maps[0].entries.size() == 5u);
  dump = bpf::dump_maps(kernel, {.limits = {.bytes = 40}});
  BOOST_TEST(dump.maps[0].entries.size() == 2u);  // of 16 bytes each
  dump = bpf::dump_maps(kernel, {.limits = {.total_bytes = 5 * 16 + 2 * 8}});
  BOOST_TEST(dump.maps[0].entries.size() == 5u);
  BOOST_TEST(dump.maps[1].array_entries.size() == 2u);  // what the first map left
}

BOOST_AUTO_TEST_CASE(maps_with_a_bad_btf_keep_their_bytes) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.value_size = 8});
  guest.put_pointer(map, "bpf_map.btf", Kva(0xdead000000000000));
  guest.guest.put(map + guest.offset("bpf_map.btf_value_type_id"), std::uint32_t{1});
  guest.guest.put(map + guest.offset("bpf_array.value"), std::uint64_t{0x0807060504030201});
  const auto kernel = guest.open();
  const auto dump = bpf::dump_maps(kernel);
  BOOST_REQUIRE(dump.maps.size() == 1u);
  BOOST_TEST(std::get<render::Bytes>(dump.maps[0].value->v).bytes.size() == 8u);
  BOOST_TEST(dump.maps[0].error.value().find("struct btf at 0xdead000000000000") == 0u);
}

BOOST_AUTO_TEST_CASE(string_literals_are_shown_as_text) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.name = ".rodata.str1.1", .value_size = 8});
  guest.guest.put(map + guest.offset("bpf_array.value"), std::array<char, 8>{'h', 'i', '\n', 0, '\\', '~', '\x7f', '\xff'});
  const auto kernel = guest.open();
  const auto dump = bpf::dump_maps(kernel);
  BOOST_TEST(dump.maps[0].value_text.value() == "hi\\x0a\\x00\\x5c~\\x7f\\xff");
  BOOST_TEST(std::get<render::Bytes>(dump.maps[0].value->v).bytes.size() == 8u);
  BOOST_TEST(dump.maps[0].value_bytes.empty());
}

BOOST_AUTO_TEST_CASE(single_values_count_against_what_a_dump_may_hold) {
  BpfGuest guest;
  for (const std::uint32_t id : {1, 2}) guest.add_map(id, {.value_size = 64});
  const auto kernel = guest.open();
  bpf::DumpOptions options;
  options.limits.total_bytes = 100;
  const auto dump = bpf::dump_maps(kernel, options);
  BOOST_REQUIRE(dump.maps.size() == 2u);
  BOOST_TEST(dump.maps[0].value.has_value());
  BOOST_TEST(!dump.maps[1].value.has_value());
  BOOST_TEST(dump.maps[1].error.value().find("truncated at 0 values") == 0u);
}

BOOST_AUTO_TEST_CASE(what_is_left_out_is_not_counted) {
  BpfGuest guest;
  guest.add_map(1, {.name = "own"});
  guest.add_map(2, {.name = "other"});
  const auto kernel = guest.open();
  const auto own = [](std::string_view name) { return name == "own"; };
  BOOST_TEST(bpf::dump_maps(kernel, {.leave_out = own}).maps.size() == 1u);
  const auto late = bpf::dump_maps(kernel, {.deadline = WalkBudget::Clock::now(), .leave_out = own});
  BOOST_TEST(late.maps.empty());
  BOOST_TEST((late.prog_runtime_stats_unavailable == bpf::NoPrograms::none_loaded));
}

BOOST_AUTO_TEST_CASE(inner_maps_are_shown_by_their_ids) {
  BpfGuest guest;
  const Kva inner = guest.add_map(9, {});
  const Kva outer = guest.add_map(10, {.type = MapType::hash_of_maps, .key_size = 4, .value_size = 4, .max_entries = 2});
  guest.add_buckets(outer, 2);
  guest.add_element(outer, 0, 22, inner.value);
  const auto kernel = guest.open();
  const auto dump = bpf::dump_maps(kernel);
  const auto& map = dump.maps.at(1);
  BOOST_TEST(map.fd_array->populated == 1u);
  BOOST_TEST(map.fd_array->indices.at(0) == 22u);
  BOOST_REQUIRE(map.entries.at(0).value_bytes.size() == 4u);
  BOOST_TEST(static_cast<int>(map.entries[0].value_bytes[0]) == 9);
}

BOOST_AUTO_TEST_CASE(payload_types_are_guessed_by_size_then_by_name) {
  const auto choose = [](std::initializer_list<const char*> names, const char* allocator, std::uint64_t bytes = 24) {
    TypeWriter w;
    for (const char* name : names) w.add_struct(name, 24, {{"a", w.u64, 0}});
    w.add_struct("another_size", 32, {{"a", w.u64, 0}});
    const auto table = render::TypeTable::parse(w.bytes());
    BOOST_REQUIRE(table);
    const auto type = bpf::payload_type(**table, allocator, bytes);
    return type.id != 0 ? std::string((*table)->name_of(type.id)) : type.reason;
  };
  BOOST_TEST(choose({}, "scx_task_allocator", 0) == "payload_size == 0");
  BOOST_TEST(choose({}, "scx_task_allocator") == "no candidate of size 24");
  BOOST_TEST(choose({"whatever"}, "scx_task_allocator") == "whatever");
  BOOST_TEST(choose({"cell_state", "task_state"}, "scx_task_allocator") == "task_state");
  BOOST_TEST(choose({"task_ctx", "other_ctx"}, "pool") == "task_ctx");
  BOOST_TEST(choose({"my_arena_ctx", "other_ctx"}, "pool") == "my_arena_ctx");
  BOOST_TEST(choose({"my_task_ctx", "other_ctx"}, "pool") == "my_task_ctx");
  BOOST_TEST(choose({"one", "other_ctx"}, "pool") == "other_ctx");
  BOOST_TEST(choose({"one", "two", "three"}, "pool") == "ambiguous: 3 candidates");
}

BOOST_AUTO_TEST_SUITE_END()
