#include "walkers/bpf/maps.hpp"

#include <boost/test/unit_test.hpp>
#include <numeric>

#include "tests/walkers/synthetic/bpf.hpp"

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

std::vector<std::uint64_t> keys(const synthetic::SeenAll& all) {
  std::vector<std::uint64_t> list;
  for (const auto& seen : all.elements) list.push_back(seen.key);
  return list;
}

using Keys = std::vector<std::uint64_t>;

// A hash of 8-byte keys and values with `count` buckets.
Kva add_hash(BpfGuest& guest, std::uint32_t count, MapType type = MapType::hash) {
  const Kva map = guest.add_map(1, {.type = type, .key_size = 8, .value_size = 8, .max_entries = count});
  guest.add_buckets(map, count);
  return map;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(maps)

BOOST_AUTO_TEST_CASE(maps_are_found_with_their_shape) {
  BpfGuest guest;
  const Kva first =
      guest.add_map(3, {.type = MapType::hash, .name = "first", .key_size = 12, .value_size = 40, .max_entries = 7, .flags = 1});
  guest.guest.put(first + guest.offset("bpf_map.btf_key_type_id"), std::uint32_t{5});
  guest.guest.put(first + guest.offset("bpf_map.btf_value_type_id"), std::uint32_t{6});
  guest.guest.put(first + guest.offset("bpf_map.btf_vmlinux_value_type_id"), std::uint32_t{7});
  guest.put_pointer(first, "bpf_map.btf", Kva(0xffff888000001000));
  guest.add_map(900, {.type = MapType{77}, .name = "a_name_of_15_ch"});
  guest.insert("map_idr", 5, 0xdead000000000000);

  const auto kernel = guest.open();
  WalkBudget budget;
  const auto table = bpf::find_maps(kernel, budget);
  BOOST_REQUIRE(table);
  BOOST_REQUIRE(table->maps.size() == 2u);
  const auto& map = table->maps[0];
  BOOST_TEST(map.id == 3u);
  BOOST_TEST(map.address.value == first.value);
  BOOST_TEST(map.name == "first");
  BOOST_TEST((map.type == MapType::hash));
  BOOST_TEST(map.key_size == 12u);
  BOOST_TEST(map.value_size == 40u);
  BOOST_TEST(map.max_entries == 7u);
  BOOST_TEST(map.flags == 1u);
  BOOST_TEST(map.btf->value == 0xffff888000001000u);
  BOOST_TEST(map.btf_key_type_id == 5u);
  BOOST_TEST(map.btf_value_type_id == 6u);
  BOOST_TEST(map.btf_vmlinux_value_type_id == 7u);
  BOOST_TEST(table->maps[1].name == "a_name_of_15_ch");
  BOOST_TEST(!table->maps[1].btf);
  BOOST_TEST(!table->complete);
  BOOST_REQUIRE(!table->problems.empty());
  BOOST_TEST(table->problems[0].find("map 5 is unreadable") == 0u);
  BOOST_TEST(bpf::to_string(MapType::rhash) == "rhash");
  BOOST_TEST(bpf::to_string(MapType::cgrp_storage) == "cgrp_storage");
  BOOST_TEST(bpf::to_string(MapType{77}).empty());
}

BOOST_AUTO_TEST_CASE(an_array_is_read_key_by_key) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.key_size = 4, .value_size = 5, .max_entries = 3});
  const Kva values = map + guest.offset("bpf_array.value");
  for (std::uint64_t i = 0; i < 3; ++i)
    guest.guest.put(values + 8 * i, 0xffffff0000000010 + i);  // a stride of 8, 5 bytes of it the value's
  const auto all = walk(guest.open());
  BOOST_TEST(all.walked.complete);
  BOOST_REQUIRE(all.elements.size() == 3u);
  BOOST_TEST((all.elements[2] == Seen{2, 0x12, {}}));
}

BOOST_AUTO_TEST_CASE(what_of_an_array_is_unmapped_is_absent_and_told) {
  BpfGuest guest;
  // Values of a page each, of which the second is not there.
  const Kva map = guest.add_map(1, {.value_size = 4096, .max_entries = 3, .bytes = 5 * kPageBytes});
  guest.guest.memory.erase_page(guest.guest.physical(map + 2 * kPageBytes));
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 3u);
  BOOST_TEST(all.elements[0].value.has_value());
  BOOST_TEST(!all.elements[1].value.has_value());
  BOOST_TEST(!all.elements[2].value.has_value());  // begins on the missing page
  BOOST_TEST(!all.walked.complete);
  BOOST_TEST(mentions(all.walked, "2 values are unreadable, the first: key 1"));
}

BOOST_AUTO_TEST_CASE(absurd_sizes_are_an_answer_not_an_allocation) {
  for (const std::uint32_t size : {0u, 0xffffffffu}) {
    BpfGuest guest;
    guest.add_map(1, {.value_size = size, .max_entries = 0xffffffff});
    const auto all = walk(guest.open());
    BOOST_TEST(all.elements.empty());
    BOOST_TEST(mentions(all.walked, "value_size"));
  }
  BpfGuest guest;
  guest.add_map(1, {.value_size = 8, .max_entries = 0xffffffff});
  const auto all = walk(guest.open(), WalkBudget(100));
  BOOST_TEST(all.elements.size() < 100u);
  BOOST_TEST(mentions(all.walked, "step limit reached"));
}

BOOST_AUTO_TEST_CASE(a_percpu_array_has_a_value_for_each_cpu) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::percpu_array, .max_entries = 2});
  const auto pointer = guest.per_cpu_pointer(1024);
  guest.guest.put(map + guest.offset("bpf_array.value"), pointer);
  guest.guest.put(guest.per_cpu(pointer, 0), std::uint64_t{10});
  guest.guest.put(guest.per_cpu(pointer, 1), std::uint64_t{11});
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 2u);
  BOOST_TEST((all.elements[0] == Seen{0, std::nullopt, {10, 11}}));
  BOOST_TEST((all.elements[1] == Seen{1, std::nullopt, {}}));  // a null pointer
}

BOOST_AUTO_TEST_CASE(cpus_that_cannot_exist_have_no_values) {
  BpfGuest guest({.cpus = 3, .possible_mask = 0b101});
  const Kva map = guest.add_map(1, {.type = MapType::percpu_array});
  const auto pointer = guest.per_cpu_pointer(512);
  guest.guest.put(map + guest.offset("bpf_array.value"), pointer);
  guest.guest.put(guest.per_cpu(pointer, 2), std::uint64_t{12});
  const auto all = walk(guest.open());
  BOOST_TEST((all.elements[0] == Seen{0, std::nullopt, {0, std::nullopt, 12}}));
}

BOOST_AUTO_TEST_CASE(a_hash_is_read_bucket_by_bucket) {
  for (const auto type : {MapType::hash, MapType::lru_hash}) {
    BpfGuest guest;
    const Kva map = add_hash(guest, 1024, type);
    BOOST_TEST(walk(guest.open()).elements.empty());
    guest.add_element(map, 3, 103, 1);
    guest.add_element(map, 1024 + 3, 203, 2);
    guest.add_element(map, 1000, 1000, 3);
    const auto all = walk(guest.open());
    BOOST_TEST(all.walked.complete);
    BOOST_TEST(keys(all) == (Keys{203, 103, 1000}), boost::test_tools::per_element());
    BOOST_TEST(all.elements[2].value.value() == 3u);
  }
}

BOOST_AUTO_TEST_CASE(keys_are_padded_to_eight_bytes) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::hash, .key_size = 3, .value_size = 8});
  guest.add_buckets(map, 1);
  guest.add_element(map, 9, 0xff123456, 77);
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 1u);
  BOOST_TEST((all.elements[0] == Seen{0x123456, 77, {}}));
}

BOOST_AUTO_TEST_CASE(elements_across_pages_are_read_whole) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::hash, .key_size = 8, .value_size = 6000});
  const Kva buckets = guest.add_buckets(map, 1);
  const Kva element = guest.guest.allocate(3 * kPageBytes) + 4000;  // neighbours in virtual memory are none in RAM
  guest.guest.put(element, std::uint64_t{1});
  guest.guest.put(element + guest.offset("htab_elem.key"), std::uint64_t{42});
  guest.guest.put(element + guest.offset("htab_elem.key") + 8 + 5992, std::uint64_t{0x1122334455667788});
  guest.guest.put(buckets, element.value);
  const auto kernel = guest.open();
  WalkBudget budget;
  const auto table = bpf::find_maps(kernel, budget);
  std::uint64_t last = 0;
  const auto walked = bpf::MapReader(kernel).elements(table->maps[0], budget, [&](const bpf::Element& found) {
    BOOST_TEST(found.value->size() == 6000u);
    std::memcpy(&last, found.value->data() + 5992, sizeof last);
    return true;
  });
  BOOST_TEST(walked.complete);
  BOOST_TEST(last == 0x1122334455667788u);
}

BOOST_AUTO_TEST_CASE(percpu_hashes_lead_to_a_value_for_each_cpu) {
  for (const auto type : {MapType::percpu_hash, MapType::lru_percpu_hash}) {
    BpfGuest guest;
    const Kva map = add_hash(guest, 2, type);
    const auto pointer = guest.per_cpu_pointer(2048);
    guest.add_element(map, 0, 5, pointer);
    guest.add_element(map, 1, 6, 0);
    guest.guest.put(guest.per_cpu(pointer, 1), std::uint64_t{99});
    const auto all = walk(guest.open());
    BOOST_REQUIRE(all.elements.size() == 2u);
    BOOST_TEST((all.elements[0] == Seen{5, std::nullopt, {0, 99}}));
    BOOST_TEST((all.elements[1] == Seen{6, std::nullopt, {}}));
  }
}

BOOST_AUTO_TEST_CASE(chains_that_loop_end_with_each_element_once) {
  {
    BpfGuest guest;
    const Kva map = add_hash(guest, 2);
    const Kva self = guest.add_element(map, 0, 1, 1);
    guest.guest.put(self, self.value);
    guest.add_element(map, 1, 2, 2);
    const auto all = walk(guest.open());
    BOOST_TEST(keys(all) == (Keys{1, 2}), boost::test_tools::per_element());
    BOOST_TEST(!all.walked.complete);
    BOOST_TEST(mentions(all.walked, "1 chains loop"));
  }
  BpfGuest guest;
  const Kva map = add_hash(guest, 2);
  std::vector<Kva> chain;
  for (std::uint64_t i = 0; i < 40; ++i) chain.push_back(guest.add_element(map, 0, i, i));
  guest.guest.put(chain.front(), chain[20].value);  // the end back into the middle
  const auto all = walk(guest.open());
  BOOST_TEST(all.elements.size() == 40u);
  BOOST_TEST(mentions(all.walked, "1 chains loop"));
}

BOOST_AUTO_TEST_CASE(a_link_to_nowhere_or_to_null_ends_its_chain_alone) {
  BpfGuest guest;
  const Kva map = add_hash(guest, 4);
  guest.add_element(map, 0, 1, 1);
  guest.guest.put(guest.add_element(map, 0, 2, 2), std::uint64_t{0xdead000000000100});
  guest.add_element(map, 1, 3, 3);
  guest.guest.put(guest.add_element(map, 1, 4, 4), std::uint64_t{0});
  guest.add_element(map, 2, 5, 5);
  const auto all = walk(guest.open());
  BOOST_TEST(keys(all) == (Keys{2, 4, 5}), boost::test_tools::per_element());
  BOOST_TEST(mentions(all.walked, "1 chains end at an unreadable element, the first: bucket 0, 0xdead000000000100"));
}

BOOST_AUTO_TEST_CASE(elements_of_another_bucket_are_left_out) {
  BpfGuest guest;
  const Kva map = add_hash(guest, 4);
  const Kva other = guest.add_element(map, 1, 11, 1);
  const Kva own = guest.add_element(map, 0, 10, 0);
  guest.guest.put(own, other.value);
  const auto all = walk(guest.open());
  BOOST_TEST(keys(all) == (Keys{10, 11}), boost::test_tools::per_element());
  BOOST_TEST(mentions(all.walked, "1 elements are on the chain of a bucket that is not theirs"));
}

BOOST_AUTO_TEST_CASE(bucket_counts_that_cannot_be_are_refused) {
  for (const std::uint32_t count : {0u, 3u, 0xffffffffu}) {
    BpfGuest guest;
    const Kva map = add_hash(guest, 4);
    guest.guest.put(map + guest.offset("bpf_htab.n_buckets"), count);
    const auto all = walk(guest.open());
    BOOST_TEST(all.elements.empty());
    BOOST_TEST(mentions(all.walked, "n_buckets is"));
  }
  BpfGuest guest;
  const Kva map = add_hash(guest, 4);
  guest.guest.put(map + guest.offset("bpf_htab.n_buckets"), std::uint32_t{1u << 30});
  const auto all = walk(guest.open(), WalkBudget(1000));
  BOOST_TEST(mentions(all.walked, "step limit reached"));
  BOOST_TEST(mentions(all.walked, "runs of buckets are unreadable"));
}

BOOST_AUTO_TEST_CASE(a_visitor_ends_a_walk) {
  BpfGuest guest;
  const Kva map = add_hash(guest, 8);
  for (std::uint32_t i = 0; i < 8; ++i) guest.add_element(map, i, i, i);
  const auto kernel = guest.open();
  WalkBudget budget;
  const auto table = bpf::find_maps(kernel, budget);
  const auto walked = bpf::MapReader(kernel).elements(table->maps[0], budget, [](const bpf::Element&) { return false; });
  BOOST_TEST(walked.elements == 1u);
  BOOST_TEST(!walked.complete);
}

BOOST_AUTO_TEST_CASE(local_storage_has_its_owner_as_key) {
  BpfGuest guest;
  const Kva map = guest.add_map(1, {.type = MapType::task_storage, .value_size = 8, .max_entries = 0});
  {
    const Kva buckets = guest.guest.allocate(kPageBytes);
    guest.put_pointer(map, "bpf_local_storage_map.buckets", buckets);
    guest.guest.put(map + guest.offset("bpf_local_storage_map.bucket_log"), std::uint32_t{2});
  }
  guest.add_storage(map, 1, 0xffff888000123400, 5);
  guest.add_storage(map, 1, 0xffff888000567800, 6);
  const Kva loop = guest.add_storage(map, 3, 0, 7);
  guest.guest.put(loop, loop.value);
  const Kva stray = guest.add_storage(map, 2, 1, 8);
  guest.put_pointer(stray, "bpf_local_storage_elem.sdata.smap", Kva(0xffff888000000000));
  const auto all = walk(guest.open());
  BOOST_REQUIRE(all.elements.size() == 3u);
  BOOST_TEST((all.elements[0] == Seen{0xffff888000567800, 6, {}}));
  BOOST_TEST((all.elements[1] == Seen{0xffff888000123400, 5, {}}));
  BOOST_TEST((all.elements[2] == Seen{0, 7, {}}));
  BOOST_TEST(mentions(all.walked, "1 chains loop"));
  BOOST_TEST(mentions(all.walked, "1 elements say that they are another map's"));

  guest.guest.put(map + guest.offset("bpf_local_storage_map.bucket_log"), std::uint32_t{60});
  BOOST_TEST(mentions(walk(guest.open()).walked, "bucket_log is 60"));
}

BOOST_AUTO_TEST_SUITE_END()
