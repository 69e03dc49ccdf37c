#include "walkers/bpf/layout.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/address.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint32_t kFarthest = 64 * 1024;  // bpf_ringbuf.producer_pos is 12 KiB into its struct

// Asks for one member after the other and remembers the first that is not there.
class Asker {
 public:
  explicit Asker(const Types& types) : types_(types) {}

  std::uint32_t offset(std::string_view path) { return near(path, taken(types_.offset(path))); }
  Field field(std::string_view path) {
    const auto found = taken(types_.field(path));
    near(path, found.offset);
    return found;
  }

  std::optional<std::uint32_t> maybe(std::string_view path) const {
    const auto found = types_.offset(path);
    return found ? std::optional(*found) : std::nullopt;
  }
  std::optional<Field> maybe_field(std::string_view path) const {
    const auto found = types_.field(path);
    return found ? std::optional(*found) : std::nullopt;
  }

  // The struct a pointer member points at: its size and the offset of a member of it. By the pointer's own type, since "bucket" is a name
  // that other parts of a kernel use too.
  std::pair<std::uint32_t, std::uint32_t> pointee(std::string_view path, std::string_view member) {
    const auto pointer = types_.member(path);
    if (!pointer) {
      fail_with(pointer.error());
      return {};
    }
    const auto* type = btf__type_by_id(types_.raw(), pointer->type_id);
    if (type != nullptr && btf_is_ptr(type)) type = btf__type_by_id(types_.raw(), type->type);
    if (type != nullptr && btf_is_struct(type) && type->size <= kPageBytes)
      for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
        const char* name = btf__name_by_offset(types_.raw(), btf_members(type)[i].name_off);
        const std::uint32_t at = btf_member_bit_offset(type, i) / 8;
        if (name != nullptr && member == name && at + 8 <= type->size) return {type->size, at};
      }
    fail_with(Error(fmt::format("{} of the kernel's BTF points at no struct with a member {}", path, member)));
    return {};
  }

  template <class T>
  Result<T> finish(T fields) {
    if (error_) return fail(std::move(*error_));
    return fields;
  }

 private:
  template <class T>
  T taken(Result<T> found) {
    if (found) return *found;
    fail_with(std::move(found.error()));
    return {};
  }
  // Reads are sized by these offsets, and BTF is the guest's.
  std::uint32_t near(std::string_view path, std::uint32_t at) {
    if (at > kFarthest) fail_with(Error(fmt::format("{} lies {} bytes into its struct", path, at)));
    return at;
  }
  void fail_with(Error error) {
    if (!error_) error_ = std::move(error);
  }

  const Types& types_;
  std::optional<Error> error_;
};

Result<ArrayFields> array_of(const Types& types) {
  Asker ask(types);
  return ask.finish(ArrayFields{ask.offset("bpf_array.value")});
}

Result<HashFields> hash_of(const Types& types) {
  Asker ask(types);
  HashFields f;
  f.buckets = ask.field("bpf_htab.buckets");
  f.n_buckets = ask.field("bpf_htab.n_buckets");
  std::tie(f.bucket_bytes, f.first) = ask.pointee("bpf_htab.buckets", "head");
  f.next = ask.offset("htab_elem.hash_node.next");
  f.hash = ask.offset("htab_elem.hash");
  f.key = ask.offset("htab_elem.key");
  return ask.finish(f);
}

Result<StorageFields> storage_of(const Types& types) {
  Asker ask(types);
  StorageFields f;
  f.buckets = ask.field("bpf_local_storage_map.buckets");
  f.bucket_log = ask.field("bpf_local_storage_map.bucket_log");
  std::tie(f.bucket_bytes, f.first) = ask.pointee("bpf_local_storage_map.buckets", "list");
  f.next = ask.offset("bpf_local_storage_elem.map_node.next");
  f.owner_link = ask.offset("bpf_local_storage_elem.local_storage");
  f.smap = ask.offset("bpf_local_storage_elem.sdata.smap");
  f.data = ask.offset("bpf_local_storage_elem.sdata.data");
  f.owner = ask.offset("bpf_local_storage.owner");
  return ask.finish(f);
}

Result<TrieFields> trie_of(const Types& types) {
  Asker ask(types);
  return ask.finish(TrieFields{ask.offset("lpm_trie.root"), ask.offset("lpm_trie_node.child"), ask.offset("lpm_trie_node.prefixlen"),
                               ask.offset("lpm_trie_node.flags"), ask.offset("lpm_trie_node.data")});
}

Result<QueueFields> queue_of(const Types& types) {
  Asker ask(types);
  return ask.finish(QueueFields{ask.field("bpf_queue_stack.head"), ask.field("bpf_queue_stack.tail"), ask.field("bpf_queue_stack.size"),
                                ask.offset("bpf_queue_stack.elements")});
}

Result<BloomFields> bloom_of(const Types& types) {
  Asker ask(types);
  return ask.finish(BloomFields{ask.field("bpf_bloom_filter.bitset_mask"), ask.field("bpf_bloom_filter.nr_hash_funcs"),
                                ask.offset("bpf_bloom_filter.bitset")});
}

Result<RingFields> ring_of(const Types& types) {
  Asker ask(types);
  return ask.finish(RingFields{ask.offset("bpf_ringbuf_map.rb"), ask.offset("bpf_ringbuf.mask"), ask.offset("bpf_ringbuf.consumer_pos"),
                               ask.offset("bpf_ringbuf.producer_pos"), ask.maybe("bpf_ringbuf.pending_pos")});
}

Result<StackFields> stack_of(const Types& types) {
  Asker ask(types);
  return ask.finish(StackFields{ask.field("bpf_stack_map.n_buckets"), ask.field("stack_map_bucket.nr"), ask.offset("bpf_stack_map.buckets"),
                                ask.offset("stack_map_bucket.data")});
}

Result<ArenaFields> arena_of(const Types& types) {
  Asker ask(types);
  return ask.finish(ArenaFields{ask.offset("bpf_arena.kern_vm"), ask.offset("bpf_arena.user_vm_start"), ask.offset("vm_struct.addr"),
                                ask.maybe("bpf_arena.scratch_page")});
}

Result<StructOpsFields> struct_ops_of(const Types& types) {
  Asker ask(types);
  return ask.finish(StructOpsFields{ask.offset("bpf_struct_ops_map.kvalue"), ask.offset("bpf_struct_ops_value.data")});
}

PointerFields pointers_of(const Types& types) {
  const Asker ask(types);
  return {ask.maybe("bpf_dtab.netdev_map"), ask.maybe("bpf_stab.sks"), ask.maybe("bpf_cpu_map.cpu_map"), ask.maybe("xsk_map.xsk_map"),
          ask.maybe("reuseport_array.ptrs")};
}

Result<DevHashFields> dev_hash_of(const Types& types) {
  Asker ask(types);
  return ask.finish(DevHashFields{ask.offset("bpf_dtab.dev_index_head"), ask.offset("bpf_dtab_netdev.index_hlist"),
                                  ask.offset("bpf_dtab_netdev.idx"), ask.field("bpf_dtab.n_buckets")});
}

Result<SockHashFields> sock_hash_of(const Types& types) {
  Asker ask(types);
  SockHashFields f;
  f.buckets = ask.offset("bpf_shtab.buckets");
  f.n_buckets = ask.field("bpf_shtab.buckets_num");
  std::tie(f.bucket_bytes, f.first) = ask.pointee("bpf_shtab.buckets", "head");
  f.link = ask.offset("bpf_shtab_elem.node");
  f.key = ask.offset("bpf_shtab_elem.key");
  f.sk = ask.offset("bpf_shtab_elem.sk");
  return ask.finish(f);
}

Result<RhashFields> rhash_of(const Types& types) {
  Asker ask(types);
  const auto in = RhashtableFields::resolve(types);
  if (!in) return fail(in.error().message);
  return ask.finish(RhashFields{ask.offset("bpf_rhtab.ht"), ask.offset("rhtab_elem.node"), ask.offset("rhtab_elem.data"), *in});
}

Result<InsnFields> insns_of(const Types& types) {
  Asker ask(types);
  return ask.finish(InsnFields{ask.offset("bpf_insn_array.values")});
}

Result<CgroupStorageFields> cgroup_storage_of(const Types& types) {
  Asker ask(types);
  return ask.finish(CgroupStorageFields{ask.offset("bpf_cgroup_storage_map.list"), ask.offset("bpf_cgroup_storage.list_map"),
                                        ask.offset("bpf_cgroup_storage.key"), ask.offset("bpf_cgroup_storage.buf"),
                                        ask.offset("bpf_storage_buffer.data")});
}

}  // namespace

Result<MapFields> MapFields::resolve(const Types& types) {
  Asker ask(types);
  MapFields f{};
  f.name = ask.field("bpf_map.name");
  f.type = ask.field("bpf_map.map_type");
  f.flags = ask.field("bpf_map.map_flags");
  f.key_size = ask.field("bpf_map.key_size");
  f.value_size = ask.field("bpf_map.value_size");
  f.max_entries = ask.field("bpf_map.max_entries");
  f.btf = ask.field("bpf_map.btf");
  f.key_type = ask.field("bpf_map.btf_key_type_id");
  f.value_type = ask.field("bpf_map.btf_value_type_id");
  f.id = ask.maybe_field("bpf_map.id");
  f.vmlinux_value_type = ask.maybe_field("bpf_map.btf_vmlinux_value_type_id");
  return ask.finish(f);
}

Result<ProgFields> ProgFields::resolve(const Types& types) {
  Asker ask(types);
  ProgFields f{};
  f.type = ask.field("bpf_prog.type");
  f.aux = ask.field("bpf_prog.aux");
  f.stats = ask.field("bpf_prog.stats");
  f.tag = ask.field("bpf_prog.tag");
  f.name = ask.field("bpf_prog_aux.name");
  f.used_maps = ask.field("bpf_prog_aux.used_maps");
  f.used_map_cnt = ask.field("bpf_prog_aux.used_map_cnt");
  f.id = ask.maybe_field("bpf_prog_aux.id");
  f.btf = ask.maybe_field("bpf_prog_aux.btf");
  return ask.finish(f);
}

Result<CodeFields> CodeFields::resolve(const Types& types) {
  Asker ask(types);
  CodeFields f{};
  f.len = ask.field("bpf_prog.len");
  f.aux = ask.field("bpf_prog.aux");
  f.expected_attach_type = ask.field("bpf_prog.expected_attach_type");
  f.func_info = ask.field("bpf_prog_aux.func_info");
  f.func_info_cnt = ask.field("bpf_prog_aux.func_info_cnt");
  f.attach_btf_id = ask.field("bpf_prog_aux.attach_btf_id");
  f.insnsi = ask.offset("bpf_prog.insnsi");
  f.array_value = ask.offset("bpf_array.value");
  f.htab_key = ask.maybe("htab_elem.key");
  return ask.finish(f);
}

Result<StatsFields> StatsFields::resolve(const Types& types) {
  Asker ask(types);
  return ask.finish(StatsFields{ask.offset("bpf_prog_stats.cnt"), ask.offset("bpf_prog_stats.nsecs"), ask.maybe("bpf_prog_stats.misses")});
}

Layout::Layout(const Types& types)
    : array(array_of(types)),
      hash(hash_of(types)),
      storage(storage_of(types)),
      trie(trie_of(types)),
      queue(queue_of(types)),
      bloom(bloom_of(types)),
      ring(ring_of(types)),
      stack(stack_of(types)),
      arena(arena_of(types)),
      struct_ops(struct_ops_of(types)),
      pointers(pointers_of(types)),
      dev_hash(dev_hash_of(types)),
      sock_hash(sock_hash_of(types)),
      rhash(rhash_of(types)),
      insns(insns_of(types)),
      cgroup_storage(cgroup_storage_of(types)) {
  const Asker ask(types);
  map_id = ask.maybe("bpf_map.id");
  prog_aux = ask.maybe("bpf_prog.aux");
  prog_id = ask.maybe("bpf_prog_aux.id");
}

}  // namespace floe::walkers::bpf
