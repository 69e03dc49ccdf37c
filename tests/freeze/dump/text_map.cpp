#include "freeze/dump/text_map.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/freeze/dump/values.hpp"

using namespace floe;
using namespace floe::freeze::dump;
using namespace floe::freeze::dump::test;
namespace bpf = walkers::bpf;

namespace {

bpf::Map map_of(std::uint32_t type) {
  bpf::Map map;
  map.name = "m";
  map.map_type = type;
  map.value_size = 8;
  map.max_entries = 4;
  return map;
}

bpf::MapEntry entry(Value key, Value value) {
  bpf::MapEntry made;
  made.key = std::move(key);
  made.value = std::move(value);
  return made;
}

template <class... Values>
std::vector<std::optional<Value>> cpus(Values... values) {
  std::vector<std::optional<Value>> list;
  (list.push_back(std::move(values)), ...);
  return list;
}

bpf::Map percpu(std::vector<std::optional<Value>> values) {
  bpf::Map map = map_of(6);
  bpf::PercpuEntry& slot = map.percpu_entries.emplace_back();
  slot.key = 0;
  slot.per_cpu = std::move(values);
  return map;
}

std::string below_head(const bpf::Map& map) {
  const std::string text = to_text(map);
  return text.substr(text.find('\n') + 1);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_map)

BOOST_AUTO_TEST_CASE(the_head_names_type_and_error) {
  bpf::Map map = map_of(1);
  BOOST_TEST(to_text(map) == "map m (type=hash, value_size=8, max_entries=4)");
  map.map_type = 99;
  map.error = "no such type";
  BOOST_TEST(to_text(map) == "map m (type=99, value_size=8, max_entries=4) [error: no such type]");
  BOOST_TEST(map_type_name(2) == "array");
  BOOST_TEST(map_type_name(26) == "struct_ops");
  BOOST_TEST(map_type_name(29) == "task_storage");
  BOOST_TEST(map_type_name(33) == "arena");
  BOOST_TEST(map_type_name(34) == "insn_array");
}

BOOST_AUTO_TEST_CASE(a_single_value) {
  bpf::Map map = map_of(2);
  map.value = record(".bss", "latch", u64(1));
  BOOST_TEST(below_head(map) == "  .bss{latch=1}");
}

BOOST_AUTO_TEST_CASE(entries_one_by_one) {
  bpf::Map map = map_of(1);
  map.entries.push_back(entry(u64(3), record("c", "x", u64(4))));
  map.entries.back().payload = record("p", "y", u64(5));
  bpf::MapEntry raw;
  raw.key_bytes = {std::byte{1}, std::byte{0}};
  raw.value_bytes = {std::byte{2}};
  map.entries.push_back(std::move(raw));
  BOOST_TEST(below_head(map) ==
             "  entry: key=3\n"
             "    value: c{x=4}\n"
             "    .data p{y=5}\n"
             "  entry: key=01 00 (raw)\n"
             "    value: 02 (raw)");
}

BOOST_AUTO_TEST_CASE(entries_of_one_shape_make_a_table) {
  bpf::Map map = map_of(1);
  map.entries.push_back(entry(record("k", "pid", u64(3), "cpu", u64(0)), record("v", "x", u64(4))));
  map.entries.push_back(entry(record("k", "pid", u64(12345), "cpu", u64(1)), record("v", "x", u64(0))));
  BOOST_TEST(below_head(map) ==
             "    pid  cpu | x\n"
             "      3    0 | 4\n"
             "  12345    1 | 0");
  map.entries.push_back(entry(record("k", "pid", u64(1), "cpu", u64(1)), record("w", "x", u64(0))));
  BOOST_TEST(below_head(map).find("entry: key=k{pid=3}") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(array_slots) {
  bpf::Map map = map_of(2);
  map.array_entries.push_back({0, u64(7)});
  map.array_entries.push_back({1, std::nullopt});
  BOOST_TEST(below_head(map) == "  key 0: 7\n  key 1: <unreadable>");
}

BOOST_AUTO_TEST_CASE(scalars_per_cpu) {
  BOOST_TEST(below_head(percpu(cpus(u64(1), std::nullopt))) ==
             "  key 0:\n"
             "    cpu 0: 1\n"
             "    cpu 1: <unmapped>");
}

BOOST_AUTO_TEST_CASE(structs_per_cpu_in_groups) {
  const auto at = [](std::uint64_t x) { return record("c", "x", u64(x)); };
  BOOST_TEST(below_head(percpu(cpus(at(1), at(1)))) == "  key 0: struct c (2 CPUs)\n    all CPUs: c{x=1}");
  BOOST_TEST(below_head(percpu(cpus(at(1), at(2), at(2), at(1), std::nullopt))) ==
             "  key 0: struct c (5 CPUs)\n"
             "    cpus [0,3]: c{x=1}\n"
             "    cpus 1-2: c{x=2}\n"
             "    cpus [4]: <unmapped>");
  BOOST_TEST(below_head(percpu(cpus(record("", "x", u64(1)), record("", "x", u64(1))))) ==
             "  key 0: struct (2 CPUs)\n    all CPUs: <anon>{x=1}");
}

BOOST_AUTO_TEST_CASE(structs_per_cpu_in_a_table) {
  const auto at = [](std::uint64_t x) { return record("c", "x", u64(x), "same", u64(9), "zero", u64(0)); };
  BOOST_TEST(below_head(percpu(cpus(at(1), at(20), at(3)))) ==
             "  key 0: struct c (3 CPUs)\n"
             "    common:\n"
             "      same: 9\n"
             "    per-cpu:\n"
             "      cpu |  x\n"
             "        0 |  1\n"
             "        1 | 20\n"
             "        2 |  3");
}

BOOST_AUTO_TEST_CASE(more_cpus_than_are_grouped) {
  std::vector<std::optional<Value>> many;
  for (int i = 0; i < 65; ++i) many.emplace_back(record("c", "x", u64(1)));
  const std::string text = below_head(percpu(std::move(many)));
  BOOST_TEST(text.starts_with("  key 0: struct c (65 CPUs)\n    cpu 0: c{x=1}\n    cpu 1: c{x=1}\n"));
}

BOOST_AUTO_TEST_CASE(hash_entries_per_cpu) {
  bpf::Map map = map_of(5);
  bpf::PercpuHashEntry& slot = map.percpu_hash_entries.emplace_back();
  slot.key_bytes = {std::byte{7}};
  slot.per_cpu = cpus(u64(1), std::nullopt);
  BOOST_TEST(below_head(map) == "  entry: key=07 (raw)\n    cpu 0: 1\n    cpu 1: <unmapped>");
}

BOOST_AUTO_TEST_CASE(special_maps) {
  bpf::Map map = map_of(33);
  bpf::ArenaSnapshot& arena = map.arena.emplace();
  arena.pages.push_back({0, std::vector<std::byte>(4096)});
  arena.pages.push_back({4096, std::vector<std::byte>(4096, std::byte{1})});
  BOOST_TEST(below_head(map) == "  arena: 2 pages captured (8 KiB), 1 non-zero (see sdt_alloc section + JSON for typed data)");
  arena.truncated = true;
  arena.declared_pages = 9;
  BOOST_TEST(below_head(map).ends_with(" (truncated, 9 declared)"));

  bpf::Map ring = map_of(27);
  ring.ringbuf = bpf::Ringbuf{4096, 100, 1124, 1100, 1024};
  BOOST_TEST(below_head(ring) == "  ringbuf: capacity=4096B, pending=1024B (25%), consumer_pos=100, producer_pos=1124, pending_pos=1100");
  ring.ringbuf = bpf::Ringbuf{4096, 1, 0, 0, ~0ull};
  BOOST_TEST(below_head(ring).find("(100%)") != std::string::npos);
  ring.ringbuf = bpf::Ringbuf{};
  BOOST_TEST(below_head(ring).find("(0%)") != std::string::npos);

  bpf::Map stacks = map_of(7);
  bpf::StackTrace& trace = stacks.stack_trace.emplace();
  trace.n_buckets = 16;
  trace.truncated = true;
  trace.buckets_unreadable = 2;
  trace.entries.push_back({3, 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {}, {}});
  BOOST_TEST(below_head(stacks) ==
             "  stack_trace: 1 of 16 buckets populated (truncated) (2 unreadable)\n"
             "    bucket 3: nr=10 pcs=[0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, +2 more]");

  bpf::Map slots = map_of(3);
  slots.fd_array = bpf::FdArray{2, 4, {0, 3}, true, false, 1, {}};
  BOOST_TEST(below_head(slots) == "  fd_array: 2 of 4 slots populated (slots truncated) (1 unreadable) indices=[0, 3]");
  slots.fd_array->indices.resize(18);
  BOOST_TEST(below_head(slots).ends_with(", 0, 0, +2 more]"));
}

BOOST_AUTO_TEST_CASE(allocators) {
  bpf::SdtAllocator allocator;
  allocator.allocator_name = "scx_task_allocator";
  allocator.elem_size = 64;
  allocator.target_type_id = 12;
  allocator.entries.push_back({1, 2, 0x1000, record("task_ctx", "pid", u64(7))});
  BOOST_TEST(to_text(allocator) ==
             "sdt_alloc scx_task_allocator (elem_size=64, target_type_id=12): 1 live\n"
             "    task_ctx{pid=7}");
  BOOST_TEST(to_text(allocator.entries[0]) == "idx=1 genn=2 user_addr=0x1000 payload=task_ctx{pid=7}");
  allocator.entries.clear();
  allocator.payload_type_reason = "two fit";
  allocator.truncated = true;
  allocator.skipped_subtrees = 3;
  BOOST_TEST(to_text(allocator) ==
             "sdt_alloc scx_task_allocator (elem_size=64, target_type_id=12, reason=two fit): 0 live (truncated) (3 subtrees skipped)");
  BOOST_TEST(to_text(bpf::ScxStatic{}) == "scx_static: <none>");
  BOOST_TEST(to_text(bpf::ScxStatic{{{"scx_static", 0x1000, 0x20, 4096}}, 1}) ==
             "scx_static scx_static [0x1000..0x1020) cap=4096\nscx_static: 1 instance(s) skipped");
}

BOOST_AUTO_TEST_SUITE_END()
