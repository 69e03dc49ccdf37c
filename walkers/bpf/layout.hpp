// Where the members of the kernel's BPF structs lie, resolved once for a kernel. A group that BTF does not have whole is an error that
// names the missing member; only the map types that need it are the poorer for it. Private to walkers/bpf.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.hpp"
#include "walkers/field.hpp"
#include "walkers/rhashtable.hpp"
#include "walkers/types.hpp"

namespace floe::walkers::bpf {

struct MapFields {
  Field name, type, flags, key_size, value_size, max_entries, btf, key_type, value_type;
  std::optional<Field> id, vmlinux_value_type;
  static Result<MapFields> resolve(const Types& types);
};

struct ArrayFields {
  std::uint32_t value = 0;  // bpf_array.value, .ptrs and .pptrs share one place
};

struct HashFields {
  Field buckets, n_buckets;
  std::uint32_t bucket_bytes = 0, first = 0;  // struct bucket, and its head.first
  std::uint32_t next = 0, hash = 0, key = 0;  // in struct htab_elem
};

struct StorageFields {
  Field buckets, bucket_log;
  std::uint32_t bucket_bytes = 0, first = 0;
  std::uint32_t next = 0, owner_link = 0, smap = 0, data = 0;  // in struct bpf_local_storage_elem
  std::uint32_t owner = 0;                                     // in struct bpf_local_storage
};

struct TrieFields {
  std::uint32_t root = 0, children = 0, prefixlen = 0, flags = 0, data = 0;
};

struct QueueFields {
  Field head, tail, size;
  std::uint32_t elements = 0;
};

struct BloomFields {
  Field mask, hashes;
  std::uint32_t bits = 0;
};

struct RingFields {
  std::uint32_t rb = 0, mask = 0, consumer = 0, producer = 0;
  std::optional<std::uint32_t> pending;  // cfa1a2329a69, 6.12
};

struct StackFields {
  Field n_buckets, nr;
  std::uint32_t buckets = 0, data = 0;
};

struct ArenaFields {
  std::uint32_t kern_vm = 0, user_vm_start = 0, addr = 0;
  std::optional<std::uint32_t> scratch_page;  // mapped where a program touched what it never allocated
};

struct StructOpsFields {
  std::uint32_t kvalue = 0, data = 0;
};

// Tables of pointers that are reached by a pointer in the map, or lie in it.
struct PointerFields {
  std::optional<std::uint32_t> devmap, sockmap, cpumap;  // pointers to tables
  std::optional<std::uint32_t> xskmap, reuseport;        // tables
};

struct DevHashFields {
  std::uint32_t heads = 0, link = 0, index = 0;
  Field n_buckets;
};

struct SockHashFields {
  std::uint32_t buckets = 0, bucket_bytes = 0, first = 0, link = 0, key = 0, sk = 0;
  Field n_buckets;
};

struct RhashFields {
  std::uint32_t table = 0, node = 0, data = 0;  // bpf_rhtab.ht; in rhtab_elem
  RhashtableFields in;
};

struct InsnFields {
  std::uint32_t values = 0;
};

struct CgroupStorageFields {
  std::uint32_t list = 0, link = 0, key = 0, buffer = 0, data = 0;
};

struct ProgFields {
  Field type, aux, stats, tag, name, used_maps, used_map_cnt;
  std::optional<Field> id, btf;
  static Result<ProgFields> resolve(const Types& types);
};

// What a program's instructions are found and understood by.
struct CodeFields {
  Field len, aux, expected_attach_type;           // of struct bpf_prog
  Field func_info, func_info_cnt, attach_btf_id;  // of struct bpf_prog_aux
  std::uint32_t insnsi = 0, array_value = 0;      // in bpf_prog, in bpf_array
  std::optional<std::uint32_t> htab_key;          // in htab_elem
  static Result<CodeFields> resolve(const Types& types);
};

struct StatsFields {
  std::uint32_t cnt = 0, nsecs = 0;
  std::optional<std::uint32_t> misses;  // 9ed9e9ba2337, 5.12
  static Result<StatsFields> resolve(const Types& types);
};

struct Layout {
  explicit Layout(const Types& types);

  Result<ArrayFields> array;
  Result<HashFields> hash;
  Result<StorageFields> storage;
  Result<TrieFields> trie;
  Result<QueueFields> queue;
  Result<BloomFields> bloom;
  Result<RingFields> ring;
  Result<StackFields> stack;
  Result<ArenaFields> arena;
  Result<StructOpsFields> struct_ops;
  PointerFields pointers;
  Result<DevHashFields> dev_hash;
  Result<SockHashFields> sock_hash;
  Result<RhashFields> rhash;
  Result<InsnFields> insns;
  Result<CgroupStorageFields> cgroup_storage;
  std::optional<std::uint32_t> map_id;             // bpf_map.id
  std::optional<std::uint32_t> prog_aux, prog_id;  // bpf_prog.aux, bpf_prog_aux.id
};

}  // namespace floe::walkers::bpf
