// The families of maps besides arrays and hashes.
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/walkers/synthetic/bpf.hpp"
#include "walkers/bpf/arena.hpp"
#include "walkers/bpf/maps.hpp"

using namespace floe;
using namespace floe::walkers;
using bpf::MapType;
using synthetic::BpfGuest;
using synthetic::Seen;
using synthetic::walk;

namespace {

bool mentions(const bpf::Walked& walked, const std::string& part) {
  return std::any_of(walked.notes.begin(), walked.notes.end(), [&](const auto& note) { return note.find(part) != note.npos; });
}

// The only map of a guest, and something to read it with.
struct Opened {
  explicit Opened(const BpfGuest& guest) : kernel(guest.open()), reader(kernel) {
    auto table = bpf::find_maps(kernel, budget);
    BOOST_REQUIRE(table && table->maps.size() == 1u);
    map = table->maps.front();
  }
  Kernel kernel;
  bpf::MapReader reader;
  WalkBudget budget{100'000};
  bpf::MapInfo map;
};

constexpr bpf::MapLimits kAll = {.array_keys = 0,
                                 .percpu_keys = 0,
                                 .hash_entries = 0,
                                 .stack_buckets = 0,
                                 .fd_slots = 0,
                                 .fd_indices = 0,
                                 .arena_pages = 0,
                                 .allocator_slots = 0,
                                 .array_elements = 0,
                                 .bytes = 0};

}  // namespace

BOOST_AUTO_TEST_SUITE(map_families)

BOOST_AUTO_TEST_CASE(a_trie_gives_its_keys_with_their_prefix_length) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::lpm_trie, .key_size = 8, .value_size = 8, .max_entries = 9});
  BOOST_TEST(walk(guest.open()).elements.empty());
  const auto node = [&](std::uint32_t prefix, std::uint32_t flags, std::uint32_t data, std::uint64_t value) {
    const Kva at = guest.guest.allocate(kPageBytes);
    guest.guest.put(at + guest.offset("lpm_trie_node.prefixlen"), prefix);
    guest.guest.put(at + guest.offset("lpm_trie_node.flags"), flags);
    guest.guest.put(at + guest.offset("lpm_trie_node.data"), data);
    guest.guest.put(at + guest.offset("lpm_trie_node.data") + 4, value);
    return at;
  };
  const Kva root = node(8, 1, 0x0a, 0);  // only branches
  const Kva left = node(16, 0, 0x010a, 21);
  const Kva right = node(24, 0, 0x80010a, 22);
  guest.put_pointer(map, "lpm_trie.root", root);
  guest.guest.put(root, left.value);
  guest.guest.put(root + 8, right.value);
  auto all = walk(guest.open());
  BOOST_TEST(all.walked.complete);
  BOOST_REQUIRE(all.elements.size() == 2u);
  BOOST_TEST((all.elements[0] == Seen{std::uint64_t{0x010a} << 32 | 16, 21, {}}));
  BOOST_TEST((all.elements[1] == Seen{std::uint64_t{0x80010a} << 32 | 24, 22, {}}));

  guest.guest.put(left, root.value);                   // a loop
  guest.guest.put(left + 8, node(33, 0, 0, 0).value);  // more bits than a key has
  guest.guest.put(right, std::uint64_t{0xdead000000000000});
  all = walk(guest.open());
  BOOST_TEST(all.elements.size() == 2u);
  BOOST_TEST(mentions(all.walked, "2 nodes have a prefix that does not fit"));
  BOOST_TEST(mentions(all.walked, "1 nodes are unreadable"));
}

BOOST_AUTO_TEST_CASE(queues_go_from_tail_to_head) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::queue, .key_size = 0, .value_size = 4, .max_entries = 3});
  const auto set = [&](std::uint32_t head, std::uint32_t tail, std::uint32_t size) {
    guest.guest.put(map + guest.offset("bpf_queue_stack.head"), head);
    guest.guest.put(map + guest.offset("bpf_queue_stack.tail"), tail);
    guest.guest.put(map + guest.offset("bpf_queue_stack.size"), size);
  };
  for (std::uint32_t slot = 0; slot < 4; ++slot) guest.guest.put(map + guest.offset("bpf_queue_stack.elements") + 4 * slot, 100 + slot);
  set(2, 2, 4);
  BOOST_TEST(walk(guest.open()).elements.empty());
  set(1, 3, 4);
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 2u);
  BOOST_TEST(all.elements[0].value.value() == 103u);
  BOOST_TEST(all.elements[1].value.value() == 100u);
  for (const auto& [head, tail, size] :
       {std::tuple(9u, 0u, 4u), std::tuple(0u, 4u, 4u), std::tuple(0u, 1u, 0xffffffffu), std::tuple(0u, 0u, 0u)}) {
    set(head, tail, size);
    BOOST_TEST(mentions(walk(guest.open()).walked, "has its head at"));
  }
}

BOOST_AUTO_TEST_CASE(a_bloom_filter_tells_how_full_it_is) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::bloom_filter, .key_size = 0});
  guest.guest.put(map + guest.offset("bpf_bloom_filter.bitset_mask"), std::uint32_t{127});
  guest.guest.put(map + guest.offset("bpf_bloom_filter.nr_hash_funcs"), std::uint32_t{3});
  guest.guest.put(map + guest.offset("bpf_bloom_filter.bitset") + 8, std::uint64_t{0xf0});
  Opened opened(guest);
  const auto text = opened.reader.describe(opened.map, opened.budget);
  BOOST_REQUIRE(text);
  BOOST_TEST(*text == "a bloom filter stores no keys; 4 of its 128 bits are set, 3 by a value");
  guest.guest.put(map + guest.offset("bpf_bloom_filter.bitset_mask"), std::uint32_t{0xffffffff});
  Opened absurd(guest);
  BOOST_TEST(!absurd.reader.describe(absurd.map, absurd.budget));
}

BOOST_AUTO_TEST_CASE(struct_ops_are_one_value_behind_their_header) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::struct_ops, .value_size = 64 + 16});
  guest.guest.put(map + guest.offset("bpf_struct_ops_map.kvalue") + 64, std::uint64_t{0xffffffffc0000000});
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 1u);
  BOOST_TEST(all.elements[0].value.value() == 0xffffffffc0000000u);
  guest.guest.put(map + guest.offset("bpf_map.value_size"), std::uint32_t{64});
  BOOST_TEST(mentions(walk(guest.open()).walked, "leaves nothing"));
}

BOOST_AUTO_TEST_CASE(ring_buffers_tell_their_positions) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::ringbuf});
  const auto ring_of = [&] {
    Opened opened(guest);
    return opened.reader.ringbuf(opened.map);
  };
  BOOST_TEST(ring_of().error().message == "bpf_ringbuf_map.rb is null");
  const Kva ring = guest.guest.allocate(3 * kPageBytes);
  guest.put_pointer(map, "bpf_ringbuf_map.rb", ring);
  guest.guest.put(ring + guest.offset("bpf_ringbuf.mask"), std::uint64_t{0xfff});
  guest.guest.put(ring + guest.offset("bpf_ringbuf.consumer_pos"), ~std::uint64_t{7});
  guest.guest.put(ring + guest.offset("bpf_ringbuf.producer_pos"), std::uint64_t{16});
  guest.guest.put(ring + guest.offset("bpf_ringbuf.pending_pos"), std::uint64_t{8});
  const auto found = ring_of();
  BOOST_REQUIRE(found);
  BOOST_TEST(found->capacity == 4096u);
  BOOST_TEST(found->pending_pos == 8u);
  BOOST_TEST(found->pending_bytes == 24u);  // the positions have wrapped
  guest.guest.memory.erase_page(guest.guest.physical(ring + 2 * kPageBytes));
  BOOST_TEST(ring_of().error().message.find("cannot read bpf_ringbuf.producer_pos") == 0u);
  guest.guest.put(ring + guest.offset("bpf_ringbuf.mask"), ~std::uint64_t{0});
  BOOST_TEST(ring_of().error().message == "bpf_ringbuf.mask is all ones");
}

BOOST_AUTO_TEST_CASE(stack_traces_are_cut_to_what_a_bucket_can_hold) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::stack_trace, .value_size = 3 * 8});
  guest.guest.put(map + guest.offset("bpf_stack_map.n_buckets"), std::uint32_t{8});
  const auto add = [&](std::uint32_t bucket, std::uint32_t nr) {
    const Kva at = guest.guest.allocate(kPageBytes);
    guest.guest.put(map + guest.offset("bpf_stack_map.buckets") + 8 * bucket, at.value);
    guest.guest.put(at + guest.offset("stack_map_bucket.nr"), nr);
    for (std::uint64_t i = 0; i < 4; ++i)
      guest.guest.put(at + guest.offset("stack_map_bucket.data") + 8 * i, guest.guest.symbol("_stext").value + i);
  };
  add(2, 2);
  add(5, 0xffffffff);
  guest.guest.put(map + guest.offset("bpf_stack_map.buckets") + 8 * 6, std::uint64_t{0xdead000000000000});
  Opened opened(guest);
  const auto traces = opened.reader.stack_trace(opened.map, kAll, opened.budget);
  BOOST_REQUIRE(traces);
  BOOST_TEST(traces->n_buckets == 8u);
  BOOST_TEST(!traces->truncated);
  BOOST_TEST(traces->buckets_unreadable == 1u);
  BOOST_REQUIRE(traces->entries.size() == 2u);
  BOOST_TEST(traces->entries[0].bucket_id == 2u);
  BOOST_TEST(traces->entries[0].pcs.size() == 2u);
  BOOST_TEST(traces->entries[0].symbols[1] == "_stext+0x1");
  BOOST_TEST(traces->entries[1].nr == 0xffffffffu);
  BOOST_TEST(traces->entries[1].pcs.size() == 3u);

  auto build_ids = opened.map;
  build_ids.flags = 1 << 5;
  build_ids.value_size = 32;
  const auto ids = opened.reader.stack_trace(build_ids, {.stack_buckets = 3}, opened.budget);
  BOOST_REQUIRE(ids);
  BOOST_TEST(ids->truncated);
  BOOST_REQUIRE(ids->entries.size() == 1u);
  BOOST_TEST(ids->entries[0].pcs.empty());
  BOOST_TEST(ids->entries[0].data_bytes.size() == 32u);
}

BOOST_AUTO_TEST_CASE(pointers_are_counted_where_each_type_keeps_them) {
  struct Case {
    MapType type;
    const char* member;
    bool behind_pointer;
  };
  for (const auto& [type, member, behind_pointer] :
       {Case{MapType::prog_array, "bpf_array.value", false}, Case{MapType::perf_event_array, "bpf_array.value", false},
        Case{MapType::cgroup_array, "bpf_array.value", false}, Case{MapType::array_of_maps, "bpf_array.value", false},
        Case{MapType::devmap, "bpf_dtab.netdev_map", true}, Case{MapType::sockmap, "bpf_stab.sks", true},
        Case{MapType::cpumap, "bpf_cpu_map.cpu_map", true}, Case{MapType::xskmap, "xsk_map.xsk_map", false},
        Case{MapType::reuseport_sockarray, "reuseport_array.ptrs", false}}) {
    BpfGuest guest;
    const Kva map = guest.add_map(1, {.type = type, .value_size = 4, .max_entries = 700, .bytes = 2 * kPageBytes});
    Kva table = map + guest.offset(member);
    if (behind_pointer) {
      Opened empty(guest);
      BOOST_TEST(!empty.reader.fd_array(empty.map, kAll, empty.budget));  // null
      const Kva own = guest.guest.allocate(2 * kPageBytes);
      guest.guest.put(table, own.value);
      table = own;
    }
    guest.guest.put(table + 8 * 3, std::uint64_t{0xdead000000000000});
    guest.guest.put(table + 8 * 600, std::uint64_t{1});
    Opened opened(guest);
    const auto found = opened.reader.fd_array(opened.map, kAll, opened.budget);
    BOOST_REQUIRE(found);
    BOOST_TEST_CONTEXT(bpf::to_string(type)) {
      BOOST_TEST(found->populated == 2u);
      BOOST_TEST(found->scanned == 700u);
      BOOST_TEST(found->indices == (std::vector<std::uint32_t>{3, 600}), boost::test_tools::per_element());
      BOOST_TEST(!found->truncated);
      const auto capped = opened.reader.fd_array(opened.map, {.fd_slots = 650, .fd_indices = 1}, opened.budget);
      BOOST_TEST(capped->truncated);
      BOOST_TEST(capped->indices_truncated);
      BOOST_TEST(capped->populated == 2u);
      BOOST_TEST(capped->indices.size() == 1u);
    }
  }
}

BOOST_AUTO_TEST_CASE(inner_maps_and_programs_are_told_by_their_ids) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::prog_array, .value_size = 4, .max_entries = 4});
  guest.guest.put(map + guest.offset("bpf_array.value") + 16, guest.add_program(77, 1, "callee").value);
  guest.guest.put(map + guest.offset("bpf_array.value") + 24, std::uint64_t{0xdead000000000000});
  Opened opened(guest);
  const auto found = opened.reader.fd_array(opened.map, kAll, opened.budget);
  BOOST_REQUIRE(found->ids.size() == 2u);
  BOOST_TEST(found->ids[0].value() == 77u);
  BOOST_TEST(!found->ids[1].has_value());
}

BOOST_AUTO_TEST_CASE(unreadable_slots_are_counted) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::perf_event_array, .max_entries = 1000, .bytes = 3 * kPageBytes});
  guest.guest.memory.erase_page(guest.guest.physical(map + kPageBytes));
  Opened opened(guest);
  const auto found = opened.reader.fd_array(opened.map, kAll, opened.budget);
  BOOST_TEST(found->scanned == 1000u);
  BOOST_TEST(found->unreadable == 500u);  // those behind the first page
}

BOOST_AUTO_TEST_CASE(sockets_and_devices_by_key) {
  {
    BpfGuest guest;
    const Kva map = guest.add_map(1, {.type = MapType::sockhash, .key_size = 8, .value_size = 4});
    const Kva buckets = guest.guest.allocate(kPageBytes);
    guest.put_pointer(map, "bpf_shtab.buckets", buckets);
    guest.guest.put(map + guest.offset("bpf_shtab.buckets_num"), std::uint32_t{2});
    const Kva element = guest.guest.allocate(kPageBytes);
    const Kva node = element + guest.offset("bpf_shtab_elem.node");
    guest.guest.put(buckets + 16, node.value);
    guest.guest.put(element + guest.offset("bpf_shtab_elem.key"), std::uint64_t{99});
    guest.guest.put(element + guest.offset("bpf_shtab_elem.sk"), std::uint64_t{0xffff888000000040});
    auto all = walk(guest.open());
    BOOST_REQUIRE(all.elements.size() == 1u);
    BOOST_TEST((all.elements[0] == Seen{99, 0xffff888000000040, {}}));
    guest.guest.put(node, node.value);
    all = walk(guest.open());
    BOOST_TEST(all.elements.size() == 1u);
    BOOST_TEST(mentions(all.walked, "1 chains loop"));
  }
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::devmap_hash});
  const Kva heads = guest.guest.allocate(kPageBytes);
  guest.put_pointer(map, "bpf_dtab.dev_index_head", heads);
  guest.guest.put(map + guest.offset("bpf_dtab.n_buckets"), std::uint32_t{4});
  const Kva device = guest.guest.allocate(kPageBytes);
  guest.guest.put(device + guest.offset("bpf_dtab_netdev.idx"), std::uint32_t{500});
  guest.guest.put(heads + 8, (device + guest.offset("bpf_dtab_netdev.index_hlist")).value);
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 1u);
  BOOST_TEST((all.elements[0] == Seen{500, device.value, {}}));
}

BOOST_AUTO_TEST_CASE(resizable_hashes_are_read_through_a_resize_and_nested_tables) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::rhash, .key_size = 4, .value_size = 8});
  const auto table = [&](std::uint32_t size, std::uint32_t nest = 0) {
    const Kva at = guest.guest.allocate(2 * kPageBytes);
    guest.guest.put(at + guest.offset("bucket_table.size"), size);
    guest.guest.put(at + guest.offset("bucket_table.nest"), nest);
    return at;
  };
  const auto element = [&](std::uint32_t key, std::uint64_t value) {
    const Kva at = guest.guest.allocate(kPageBytes);
    guest.guest.put(at, std::uint64_t{1});  // the end
    guest.guest.put(at + guest.offset("rhtab_elem.data"), key);
    guest.guest.put(at + guest.offset("rhtab_elem.data") + 8, value);
    return at;
  };
  const Kva first = table(4), second = table(8);
  const auto bucket = [&](Kva of, unsigned i) { return of + guest.offset("bucket_table.buckets") + 8 * i; };
  guest.guest.put(map + guest.offset("bpf_rhtab.ht.tbl"), first.value);
  const Kva a = element(1, 11), b = element(2, 22), c = element(3, 33);
  guest.guest.put(bucket(first, 0), a.value | 1);  // locked
  guest.guest.put(a, b.value);
  guest.put_pointer(first, "bucket_table.future_tbl", second);
  guest.guest.put(bucket(second, 5), b.value);  // on both for a moment
  guest.guest.put(b, c.value);
  auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 3u);
  BOOST_TEST((all.elements[2] == Seen{3, 33, {}}));

  // 1024 buckets in two levels of pages: 512 slots, each with a page of two.
  const Kva nested = table(1024, 9), top = guest.guest.allocate(kPageBytes), leaf = guest.guest.allocate(kPageBytes);
  guest.guest.put(bucket(nested, 0), top.value);
  guest.guest.put(top + 8 * 400, leaf.value);
  guest.guest.put(leaf + 8, element(4, 44).value);
  guest.guest.put(map + guest.offset("bpf_rhtab.ht.tbl"), nested.value);
  all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 1u);
  BOOST_TEST((all.elements[0] == Seen{4, 44, {}}));

  guest.guest.put(nested + guest.offset("bucket_table.size"), std::uint32_t{77});
  BOOST_TEST(mentions(walk(guest.open()).walked, "the bucket table has 77 buckets"));
}

BOOST_AUTO_TEST_CASE(old_cgroup_storage_is_a_list) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::cgroup_storage, .key_size = 8});
  const Kva head = map + guest.offset("bpf_cgroup_storage_map.list");
  guest.guest.put(head, head.value);
  BOOST_TEST(walk(guest.open()).elements.empty());
  const Kva storage = guest.guest.allocate(kPageBytes), buffer = guest.guest.allocate(kPageBytes);
  const Kva node = storage + guest.offset("bpf_cgroup_storage.list_map");
  guest.guest.put(head, node.value);
  guest.guest.put(node, head.value);
  guest.put_pointer(storage, "bpf_cgroup_storage.buf", buffer);
  guest.guest.put(storage + guest.offset("bpf_cgroup_storage.key"), std::uint64_t{4242});
  guest.guest.put(buffer + guest.offset("bpf_storage_buffer.data"), std::uint64_t{7});
  auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 1u);
  BOOST_TEST((all.elements[0] == Seen{4242, 7, {}}));
  guest.guest.put(node, node.value);
  all = walk(guest.open());
  BOOST_TEST(all.elements.size() == 1u);
  BOOST_TEST(mentions(all.walked, "instead of its head"));
}

BOOST_AUTO_TEST_CASE(an_arena_has_the_pages_that_are_mapped) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::arena, .key_size = 0, .value_size = 0, .max_entries = 1 << 20});
  constexpr std::uint64_t kUser = std::uint64_t{0x12} << 32;
  guest.guest.put(map + guest.offset("bpf_arena.user_vm_start"), kUser);
  {
    Opened opened(guest);
    const auto arena = bpf::Arena::open(opened.reader, opened.map);
    BOOST_REQUIRE(arena);
    BOOST_TEST(arena->kern_vm_start() == 0u);
    BOOST_TEST(arena->snapshot(opened.kernel, kAll, opened.budget).pages.empty());
  }
  // Consecutive pages stand for those of the arena from its first on.
  const Kva area = guest.guest.allocate(kPageBytes), pages = guest.guest.allocate(3 * kPageBytes);
  guest.put_pointer(map, "bpf_arena.kern_vm", area);
  guest.guest.put(area + guest.offset("vm_struct.addr"), pages.value - 0x8000);
  guest.guest.put(pages + kPageBytes - 4, std::uint64_t{0x1122334455667788});  // over the page boundary
  Opened opened(guest);
  const auto arena = bpf::Arena::open(opened.reader, opened.map);
  BOOST_REQUIRE(arena);
  BOOST_TEST(arena->kern_vm_start() == pages.value);
  const auto snapshot = arena->snapshot(opened.kernel, {.arena_pages = 2}, opened.budget);
  BOOST_REQUIRE(snapshot.pages.size() == 2u);
  BOOST_TEST(snapshot.truncated);
  BOOST_TEST(snapshot.pages[1].user_addr == kUser + kPageBytes);
  BOOST_TEST(snapshot.declared_pages == 1u << 20);
  BOOST_TEST(!snapshot.span_capped);
  const auto all = arena->snapshot(opened.kernel, kAll, opened.budget);
  BOOST_TEST(all.pages.size() >= 3u);
  BOOST_TEST(!all.truncated);
  std::uint64_t word = 0;
  BOOST_TEST(arena->read(opened.kernel.memory(), kUser + kPageBytes - 4, std::as_writable_bytes(std::span(&word, 1))) == 8u);
  BOOST_TEST(word == 0x1122334455667788u);
  BOOST_TEST(arena->read(opened.kernel.memory(), kUser + 0x80000000, std::as_writable_bytes(std::span(&word, 1))) == 0u);
}

BOOST_AUTO_TEST_CASE(types_without_elements_say_why) {
  BpfGuest guest;
  guest.add_map(1, {.type = MapType{99}});
  Opened opened(guest);
  BOOST_TEST(!bpf::MapReader::has_elements(opened.map.type));
  BOOST_TEST(opened.reader.describe(opened.map, opened.budget).error().message.find("unknown map_type 99") == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
