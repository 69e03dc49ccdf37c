// A scheduler with its arena and allocator, and maps of many types beside it, of which the input overwrites any bytes (fuzz/patched.hpp).
// The dump must end near its deadline and within its bounds, whatever it finds.
#include <cstdlib>
#include <vector>

#include "fuzz/patched.hpp"
#include "tests/walkers/synthetic/bpf_scheduler.hpp"
#include "walkers/bpf/dump.hpp"

using namespace floe;
using namespace floe::walkers;
using bpf::MapType;

namespace {

struct Guest {
  synthetic::Scheduler scheduler;
  synthetic::BpfGuest& bpf = scheduler.guest;
  std::optional<Kernel> opened;
  std::vector<Gpa> pages;  // what the structures of BPF lie in

  Guest() {
    auto& guest = bpf.guest;
    std::uint32_t id = 10;
    const auto add = [&](MapType type, std::uint32_t key_size = 4) {
      return bpf.add_map(++id, {.type = type, .name = "a.bss", .key_size = key_size, .value_size = 80, .max_entries = 4});
    };
    add(MapType::array);
    add(MapType::percpu_array);
    for (const auto type : {MapType::hash, MapType::percpu_hash, MapType::hash_of_maps}) {
      const Kva map = add(type, 8);
      bpf.add_buckets(map, 4);
      for (std::uint32_t i = 0; i < 5; ++i) bpf.add_element(map, i, i, bpf.per_cpu_pointer(64 * i));
    }
    const Kva storage = add(MapType::task_storage);
    bpf.put_pointer(storage, "bpf_local_storage_map.buckets", guest.allocate(kPageBytes));
    bpf.add_storage(storage, 0, 1, 2);
    bpf.add_storage(storage, 0, 3, 4);
    const Kva trie = add(MapType::lpm_trie, 8);
    const Kva root = guest.allocate(kPageBytes);
    bpf.put_pointer(trie, "lpm_trie.root", root);
    guest.put(root, guest.allocate(kPageBytes).value);
    guest.put(add(MapType::queue, 0) + bpf.offset("bpf_queue_stack.size"), std::uint32_t{5});
    bpf.put_pointer(add(MapType::ringbuf), "bpf_ringbuf_map.rb", guest.allocate(3 * kPageBytes));
    const Kva stacks = add(MapType::stack_trace);
    guest.put(stacks + bpf.offset("bpf_stack_map.n_buckets"), std::uint32_t{4});
    guest.put(stacks + bpf.offset("bpf_stack_map.buckets"), guest.allocate(kPageBytes).value);
    for (const auto type : {MapType::prog_array, MapType::devmap, MapType::xskmap, MapType::bloom_filter, MapType::struct_ops}) add(type);
    const Kva rhash = add(MapType::rhash);
    const Kva table = guest.allocate(kPageBytes);
    bpf.put_pointer(rhash, "bpf_rhtab.ht.tbl", table);
    guest.put(table + bpf.offset("bucket_table.size"), std::uint32_t{4});
    guest.put(table + bpf.offset("bucket_table.buckets"), guest.allocate(kPageBytes).value);
    for (unsigned i = 0; i < 4; ++i) scheduler.add_slot(i, 100 * i, 1);
    scheduler.add_task_data(++id);
    // lookups in its hash and its .bss, for the analysis of instructions
    const std::uint64_t address = scheduler.bss.value + bpf.offset("bpf_array.value");
    const std::uint64_t code[] = {0x018 | 0x100 | address << 32,  // r1 = &.bss
                                  address >> 32 << 32,            //
                                  0x1279,                         // r2 = *r1, of which the low half
                                  0x22bc,
                                  0x23b9,  // r3 = *(arena)r2
                                  0x0000'0002'0000'1085,
                                  0x95,
                                  0x95};  // call; exit
    const std::uint32_t functions[] = {0, 1, 7, 2};
    bpf.set_code(bpf.add_program(++id, 27, "code", {scheduler.bss}), scheduler.btf, code, functions);
    const Kva last = guest.allocate(kPageBytes);

    auto open = Kernel::open(guest.memory);
    if (!open) std::abort();
    opened.emplace(std::move(*open));
    for (Kva at = scheduler.btf; at < last; at = at + kPageBytes) pages.push_back(guest.physical(at));
    pages.push_back(guest.physical(guest.symbol("map_idr")));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Guest guest;
  fuzz::Input input(data, size);
  fuzz::Patched memory(guest.bpf.guest.memory);
  memory.patch_by(input, guest.pages);
  const auto kernel = Kernel::open(memory, *guest.opened);
  if (!kernel) return 0;

  constexpr auto kDeadline = std::chrono::milliseconds(200);
  const auto start = WalkBudget::Clock::now();
  const auto dump = bpf::dump_maps(
      *kernel, {.limits = {.array_keys = 64, .hash_entries = 64, .arena_pages = 16, .bytes = 1 << 20}, .deadline = start + kDeadline});
  if (WalkBudget::Clock::now() - start > 20 * kDeadline) std::abort();
  for (const auto& map : dump.maps) {
    if (map.entries.size() > 64 || map.array_entries.size() > 64) std::abort();
    if (map.arena && map.arena->pages.size() > 16) std::abort();
  }
  return 0;
}
