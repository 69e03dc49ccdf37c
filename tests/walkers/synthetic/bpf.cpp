#include "tests/walkers/synthetic/bpf.hpp"

#include <bpf/btf.h>

#include <cstring>
#include <stdexcept>

namespace floe::walkers::synthetic {
namespace {

struct Place {
  const char* name;
  int type;
  std::uint32_t byte;
};

class Structs {
 public:
  explicit Structs(TypeWriter& writer) : w(writer) {}

  int add(const char* name, std::uint32_t bytes, std::initializer_list<Place> members) {
    std::vector<MemberSpec> specs;
    for (const auto& member : members) specs.push_back({member.name, member.type, member.byte * 8});
    return w.add_struct(name, bytes, specs);
  }
  int pointer_to(int type) { return btf__add_ptr(w.raw(), type); }

  TypeWriter& w;
};

void add_bpf_types(TypeWriter& w) {
  Structs s(w);
  const int bytes = w.array(w.u8, 0), words = w.array(w.u64, 0), pointers = w.array(w.pointer, 0), chars = w.array(w.character, 16);
  s.add("page", 64, {{"flags", w.u64, 0}});
  const int xarray = s.add("xarray", 16, {{"xa_lock", w.u32, 0}, {"xa_head", w.pointer, 8}});
  s.add("idr", 24, {{"idr_rt", xarray, 0}, {"idr_base", w.u32, 16}, {"idr_next", w.u32, 20}});
  s.add("xa_node", 520, {{"shift", w.u8, 0}, {"slots", w.array(w.pointer, 64), 8}});

  const int map = s.add("bpf_map", 80,
                        {{"map_type", w.u32, 8},
                         {"key_size", w.u32, 12},
                         {"value_size", w.u32, 16},
                         {"max_entries", w.u32, 20},
                         {"map_flags", w.u32, 24},
                         {"id", w.u32, 28},
                         {"btf_key_type_id", w.u32, 32},
                         {"btf_value_type_id", w.u32, 36},
                         {"btf_vmlinux_value_type_id", w.u32, 40},
                         {"btf", w.pointer, 48},
                         {"name", chars, 56}});
  s.add("bpf_array", 96, {{"map", map, 0}, {"value", bytes, 96}});
  s.add("bpf_insn_array", 88, {{"map", map, 0}, {"values", bytes, 88}});

  const int nulls_head = s.add("hlist_nulls_head", 8, {{"first", w.pointer, 0}});
  const int nulls_node = s.add("hlist_nulls_node", 16, {{"next", w.pointer, 0}, {"pprev", w.pointer, 8}});
  const int head = s.add("hlist_head", 8, {{"first", w.pointer, 0}});
  const int node = s.add("hlist_node", 16, {{"next", w.pointer, 0}, {"pprev", w.pointer, 8}});
  s.add("bucket", 64, {{"index", w.u64, 0}});  // another one of that name, larger
  const int bucket = s.add("bucket", 16, {{"head", nulls_head, 0}, {"raw_lock", w.u32, 8}});
  s.add("bpf_htab", 96, {{"map", map, 0}, {"buckets", s.pointer_to(bucket), 80}, {"n_buckets", w.u32, 88}});
  s.add("htab_elem", 32, {{"hash_node", nulls_node, 0}, {"hash", w.u32, 24}, {"key", bytes, 32}});

  const int storage_bucket = s.add("bpf_local_storage_map_bucket", 16, {{"list", head, 0}, {"lock", w.u32, 8}});
  s.add("bpf_local_storage_map", 96, {{"map", map, 0}, {"buckets", s.pointer_to(storage_bucket), 80}, {"bucket_log", w.u32, 88}});
  const int storage_data = s.add("bpf_local_storage_data", 8, {{"smap", w.pointer, 0}, {"data", bytes, 8}});
  s.add("bpf_local_storage_elem", 64, {{"map_node", node, 0}, {"local_storage", w.pointer, 32}, {"sdata", storage_data, 40}});
  s.add("bpf_local_storage", 16, {{"owner", w.pointer, 8}});

  s.add("lpm_trie", 88, {{"map", map, 0}, {"root", w.pointer, 80}});
  s.add("lpm_trie_node", 24, {{"child", w.array(w.pointer, 2), 0}, {"prefixlen", w.u32, 16}, {"flags", w.u32, 20}, {"data", bytes, 24}});
  s.add("bpf_queue_stack", 92, {{"map", map, 0}, {"head", w.u32, 80}, {"tail", w.u32, 84}, {"size", w.u32, 88}, {"elements", bytes, 92}});
  s.add("bpf_bloom_filter", 96, {{"map", map, 0}, {"bitset_mask", w.u32, 80}, {"nr_hash_funcs", w.u32, 88}, {"bitset", words, 96}});

  s.add("bpf_ringbuf_map", 88, {{"map", map, 0}, {"rb", w.pointer, 80}});
  s.add("bpf_ringbuf", 12288,
        {{"mask", w.u64, 0}, {"consumer_pos", w.u64, 4096}, {"producer_pos", w.u64, 8192}, {"pending_pos", w.u64, 8200}});
  s.add("bpf_stack_map", 88, {{"map", map, 0}, {"n_buckets", w.u32, 80}, {"buckets", pointers, 88}});
  s.add("stack_map_bucket", 8, {{"hash", w.u32, 0}, {"nr", w.u32, 4}, {"data", words, 8}});
  s.add("bpf_arena", 104, {{"map", map, 0}, {"user_vm_start", w.u64, 80}, {"kern_vm", w.pointer, 88}, {"scratch_page", w.pointer, 96}});
  s.add("vm_struct", 16, {{"addr", w.pointer, 8}});

  const int ops_value = s.add("bpf_struct_ops_value", 64, {{"common", w.u64, 0}, {"data", bytes, 64}});
  s.add("bpf_struct_ops_map", 192, {{"map", map, 0}, {"kvalue", ops_value, 128}});

  s.add("bpf_dtab", 100, {{"map", map, 0}, {"netdev_map", w.pointer, 80}, {"dev_index_head", w.pointer, 88}, {"n_buckets", w.u32, 96}});
  s.add("bpf_dtab_netdev", 32, {{"dev", w.pointer, 0}, {"index_hlist", node, 8}, {"idx", w.u32, 24}});
  s.add("bpf_stab", 88, {{"map", map, 0}, {"sks", w.pointer, 80}});
  s.add("bpf_cpu_map", 96, {{"map", map, 0}, {"cpu_map", w.pointer, 88}});
  s.add("xsk_map", 104, {{"map", map, 0}, {"xsk_map", pointers, 104}});
  s.add("reuseport_array", 80, {{"map", map, 0}, {"ptrs", pointers, 80}});
  const int sock_bucket = s.add("bpf_shtab_bucket", 16, {{"head", head, 0}, {"lock", w.u32, 8}});
  s.add("bpf_shtab", 96, {{"map", map, 0}, {"buckets", s.pointer_to(sock_bucket), 80}, {"buckets_num", w.u32, 88}});
  s.add("bpf_shtab_elem", 24, {{"sk", w.pointer, 0}, {"node", node, 8}, {"key", bytes, 24}});

  s.add("rhash_head", 8, {{"next", w.pointer, 0}});
  const int table =
      s.add("bucket_table", 64, {{"size", w.u32, 0}, {"nest", w.u32, 4}, {"future_tbl", w.pointer, 8}, {"buckets", pointers, 64}});
  const int rhashtable = s.add("rhashtable", 8, {{"tbl", s.pointer_to(table), 0}});
  s.add("bpf_rhtab", 88, {{"map", map, 0}, {"ht", rhashtable, 80}});
  s.add("rhtab_elem", 8, {{"node", w.u64, 0}, {"data", bytes, 8}});

  s.add("bpf_cgroup_storage_map", 96, {{"map", map, 0}, {"list", w.list_head, 80}});
  s.add("bpf_cgroup_storage", 64, {{"buf", w.pointer, 0}, {"key", w.u64, 16}, {"list_map", w.list_head, 32}});
  s.add("bpf_storage_buffer", 16, {{"data", bytes, 16}});

  s.add("bpf_prog", 48,
        {{"type", w.u32, 0},
         {"len", w.u32, 4},
         {"aux", w.pointer, 8},
         {"stats", w.pointer, 16},
         {"tag", w.array(w.u8, 8), 24},
         {"expected_attach_type", w.u32, 32},
         {"insnsi", w.array(w.u64, 0), 40}});
  s.add("bpf_prog_aux", 64,
        {{"id", w.u32, 0},
         {"used_map_cnt", w.u32, 4},
         {"attach_btf_id", w.u32, 8},
         {"func_info_cnt", w.u32, 12},
         {"used_maps", w.pointer, 16},
         {"name", chars, 24},
         {"btf", w.pointer, 40},
         {"func_info", w.pointer, 48}});
  s.add("bpf_prog_stats", 24, {{"cnt", w.u64, 0}, {"nsecs", w.u64, 8}, {"misses", w.u64, 16}});
  const int ops = s.add("sched_ext_ops", 16, {{"timeout_ms", w.u32, 0}, {"enqueue", w.pointer, 8}});
  s.add("floe_moved", 16, {{"before", w.u64, 0}, {"to", btf__add_ptr(w.raw(), ops), 8}});
  btf__add_func(w.raw(), "bpf_arena_alloc_pages", BTF_FUNC_GLOBAL, btf__add_func_proto(w.raw(), w.pointer));
  s.add("btf", 24, {{"data", w.pointer, 0}, {"data_size", w.u32, 8}, {"base_btf", w.pointer, 16}});
}

}  // namespace

KernelSpec bpf_spec(KernelSpec spec) {
  spec.add_types = add_bpf_types;
  spec.symbols = {{"map_idr", 0x100, 'd'},
                  {"prog_idr", 0x200, 'd'},
                  {"__bpf_call_base", 0x300, 'T'},
                  {"__htab_map_lookup_elem", 0x340, 'T'},
                  {"bpf_task_storage_get", 0x380, 'T'},
                  {"bpf_get_prandom_u32", 0x3c0, 'T'}};
  return spec;
}

std::uint64_t BpfGuest::word(Kva kva) const {
  std::uint64_t value = 0;
  guest.memory.read(guest.physical(kva), std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

// A tree of three levels, whatever the ids.
void BpfGuest::insert(const std::string& idr, std::uint32_t id, std::uint64_t pointer) {
  Kva slot = guest.symbol(idr) + offset("idr.idr_rt") + offset("xarray.xa_head");
  for (const unsigned shift : {12u, 6u, 0u}) {
    std::uint64_t node = word(slot) & ~std::uint64_t{3};
    if (node == 0) {
      node = guest.allocate(kPageBytes).value;
      guest.put(Kva(node) + offset("xa_node.shift"), static_cast<std::uint8_t>(shift));
      guest.put(slot, node | 2);
    }
    slot = Kva(node) + offset("xa_node.slots") + 8 * ((id >> shift) & 63);
  }
  guest.put(slot, pointer);
}

Kva BpfGuest::add_map(std::uint32_t id, const MapSpec& spec) {
  const Kva map = guest.allocate(spec.bytes);
  const auto put = [&](const char* member, std::uint32_t value) { guest.put(map + offset(std::string("bpf_map.") + member), value); };
  put("map_type", static_cast<std::uint32_t>(spec.type));
  put("key_size", spec.key_size);
  put("value_size", spec.value_size);
  put("max_entries", spec.max_entries);
  put("map_flags", spec.flags);
  put("id", id);
  guest.put_string(map + offset("bpf_map.name"), spec.name);
  insert("map_idr", id, map.value);
  return map;
}

Kva BpfGuest::add_program(std::uint32_t id, std::uint32_t type, const std::string& name, const std::vector<Kva>& used_maps) {
  const Kva program = guest.allocate(kPageBytes);
  const Kva aux = guest.allocate(kPageBytes);
  const Kva maps = guest.allocate(kPageBytes);
  guest.put(program + offset("bpf_prog.type"), type);
  put_pointer(program, "bpf_prog.aux", aux);
  guest.put(aux + offset("bpf_prog_aux.id"), id);
  guest.put(aux + offset("bpf_prog_aux.used_map_cnt"), static_cast<std::uint32_t>(used_maps.size()));
  put_pointer(aux, "bpf_prog_aux.used_maps", maps);
  guest.put_string(aux + offset("bpf_prog_aux.name"), name);
  for (std::size_t i = 0; i < used_maps.size(); ++i) guest.put(maps + 8 * i, used_maps[i].value);
  insert("prog_idr", id, program.value);
  return program;
}

void BpfGuest::set_code(Kva program, Kva btf, std::span<const std::uint64_t> code, std::span<const std::uint32_t> functions) {
  const Kva aux(word(program + offset("bpf_prog.aux")));
  put_pointer(aux, "bpf_prog_aux.btf", btf);
  const Kva table = guest.allocate(4 * functions.size());
  put_pointer(aux, "bpf_prog_aux.func_info", table);
  guest.put(aux + offset("bpf_prog_aux.func_info_cnt"), static_cast<std::uint32_t>(functions.size() / 2));
  guest.write(table, std::as_bytes(functions));
  guest.put(program + offset("bpf_prog.len"), static_cast<std::uint32_t>(code.size()));
  guest.write(program + offset("bpf_prog.insnsi"), std::as_bytes(code));
}

Kva BpfGuest::add_buckets(Kva map, std::uint32_t count) {
  const Kva buckets = guest.allocate(16 * std::uint64_t{count});
  put_pointer(map, "bpf_htab.buckets", buckets);
  guest.put(map + offset("bpf_htab.n_buckets"), count);
  for (std::uint32_t i = 0; i < count; ++i) guest.put(buckets + 16 * i, std::uint64_t{i} << 1 | 1);
  return buckets;
}

Kva BpfGuest::add_element(Kva map, std::uint32_t hash, std::uint64_t key, std::uint64_t value) {
  const auto count = static_cast<std::uint32_t>(word(map + offset("bpf_htab.n_buckets")));
  const auto key_size = static_cast<std::uint32_t>(word(map + offset("bpf_map.key_size")));
  const Kva head = Kva(word(map + offset("bpf_htab.buckets"))) + 16 * (hash & (count - 1));
  const Kva element = guest.allocate(kPageBytes);
  guest.put(element, word(head));
  guest.put(element + offset("htab_elem.hash"), hash);
  guest.put(element + offset("htab_elem.key"), key);
  guest.put(element + offset("htab_elem.key") + (key_size + 7) / 8 * 8, value);
  guest.put(head, element.value);
  return element;
}

Kva BpfGuest::add_storage(Kva map, std::uint32_t bucket, std::uint64_t owner, std::uint64_t value) {
  const Kva head = Kva(word(map + offset("bpf_local_storage_map.buckets"))) + 16 * bucket;
  const Kva element = guest.allocate(kPageBytes);
  const Kva storage = guest.allocate(kPageBytes);
  guest.put(element, word(head));
  guest.put(storage + offset("bpf_local_storage.owner"), owner);
  put_pointer(element, "bpf_local_storage_elem.local_storage", storage);
  put_pointer(element, "bpf_local_storage_elem.sdata.smap", map);
  guest.put(element + offset("bpf_local_storage_elem.sdata.data"), value);
  guest.put(head, element.value);
  return element;
}

Kva BpfGuest::per_cpu(std::uint64_t pointer, std::uint32_t cpu) const {
  return Kva(pointer) + word(guest.symbol("__per_cpu_offset") + 8 * cpu);
}

Kernel BpfGuest::open() const {
  auto kernel = Kernel::open(guest.memory);
  if (!kernel) throw std::runtime_error(kernel.error().message);
  return std::move(*kernel);
}

SeenAll walk(const Kernel& kernel, WalkBudget budget) {
  const auto table = bpf::find_maps(kernel, budget);
  if (!table || table->maps.size() != 1) throw std::logic_error("a test walks a guest with one map");
  const auto first_word = [](std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return value;
  };
  SeenAll all;
  all.walked = bpf::MapReader(kernel).elements(table->maps.front(), budget, [&](const bpf::Element& element) {
    Seen seen{first_word(element.key), std::nullopt, {}};
    if (element.value) seen.value = first_word(*element.value);
    for (const auto& value : element.per_cpu) seen.per_cpu.push_back(value ? std::optional(first_word(*value)) : std::nullopt);
    all.elements.push_back(std::move(seen));
    return true;
  });
  return all;
}

}  // namespace floe::walkers::synthetic
