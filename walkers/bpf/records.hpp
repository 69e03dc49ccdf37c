// What the walkers of BPF maps, programs and allocators find, in the shapes and under the names of the dump's JSON. Values that the
// guest's memory did not yield are absent; why stands in `error` of the map they belong to. KVAs are plain numbers here: identities
// within one run, nothing to dereference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "walkers/render/value.hpp"

namespace floe::walkers::bpf {

// An element of a hash, an LRU hash, an LPM trie or a local storage.
struct MapEntry {
  std::optional<render::Value> key;  // where the key's BTF is known
  std::vector<std::byte> key_bytes;  // "key_hex"
  std::optional<render::Value> value;
  std::vector<std::byte> value_bytes;    // "value_hex"
  std::optional<render::Value> payload;  // what the value's struct sdt_data pointer leads to
};

struct ArrayEntry {
  std::uint32_t key = 0;
  std::optional<render::Value> value;  // absent: the slot is unreadable
};

struct PercpuEntry {
  std::uint32_t key = 0;
  std::vector<std::optional<render::Value>> per_cpu;  // by CPU; absent: that CPU's copy is unmapped
};

struct PercpuHashEntry {
  std::optional<render::Value> key;
  std::vector<std::byte> key_bytes;  // "key_hex"
  std::vector<std::optional<render::Value>> per_cpu;
};

// struct bpf_ringbuf: positions are free-running counters of bytes.
struct Ringbuf {
  std::uint64_t capacity = 0;
  std::uint64_t consumer_pos = 0;
  std::uint64_t producer_pos = 0;
  std::uint64_t pending_pos = 0;
  std::uint64_t pending_bytes = 0;  // producer - consumer, wrapping
};

struct StackTraceEntry {
  std::uint32_t bucket_id = 0;
  std::uint32_t nr = 0;               // entries, as the kernel counted them
  std::vector<std::uint64_t> pcs;     // empty in build-id mode
  std::vector<std::byte> data_bytes;  // "data_hex"
  std::vector<std::string> symbols;   // floe's own key: each pc as symbol+offset, "" for one outside of the kernel
};

struct StackTrace {
  std::uint32_t n_buckets = 0;
  std::vector<StackTraceEntry> entries;
  bool truncated = false;
  std::uint32_t buckets_unreadable = 0;
};

struct FdArray {
  std::uint32_t populated = 0;
  std::uint32_t scanned = 0;
  std::vector<std::uint32_t> indices;
  bool truncated = false;
  bool indices_truncated = false;
  std::uint32_t unreadable = 0;
  // floe's own key: of a prog_array and an array_of_maps the id of what each of `indices` holds, absent where it is unreadable
  std::vector<std::optional<std::uint32_t>> ids;
};

struct ArenaPage {
  std::uint64_t user_addr = 0;  // full user address
  std::vector<std::byte> bytes;
};

struct ArenaSnapshot {
  std::vector<ArenaPage> pages;
  bool truncated = false;
  std::uint64_t declared_pages = 0;
  bool span_capped = false;
  std::uint64_t kern_vm_start = 0;  // 0: unresolved
  std::uint64_t user_vm_start = 0;
};

struct Map {
  std::string name;
  std::uint64_t map_kva = 0;
  std::uint32_t map_type = 0;  // enum bpf_map_type
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::optional<render::Value> value;
  std::vector<MapEntry> entries;
  std::vector<ArrayEntry> array_entries;
  std::vector<PercpuEntry> percpu_entries;
  std::vector<PercpuHashEntry> percpu_hash_entries;
  std::optional<ArenaSnapshot> arena;
  std::optional<Ringbuf> ringbuf;
  std::optional<StackTrace> stack_trace;
  std::optional<FdArray> fd_array;
  std::optional<std::string> error;
  // floe's own keys
  std::uint32_t id = 0;
  std::uint32_t key_size = 0;
  std::uint32_t map_flags = 0;
  std::vector<std::byte> value_bytes;     // "value_hex": those of `value`, padding too, where it has a type
  std::optional<std::string> value_text;  // of a section of string literals: what is not printable ASCII as \xHH
};

struct SdtAllocEntry {
  std::int32_t idx = 0;
  std::int32_t genn = 0;
  std::uint64_t user_addr = 0;  // the low 32 bits of the slot's start, no more
  render::Value payload;
};

struct SdtAllocator {
  std::string allocator_name;
  std::vector<SdtAllocEntry> entries;
  bool truncated = false;
  std::uint32_t skipped_subtrees = 0;
  std::uint64_t elem_size = 0;
  std::uint32_t target_type_id = 0;  // of the payload in the program's BTF; 0: unresolved
  std::string payload_type_reason;
};

struct ScxStaticRange {
  std::string instance_name;
  std::uint32_t start_low32 = 0;
  std::uint64_t size = 0;  // bytes handed out
  std::uint64_t capacity = 0;
};

struct ScxStatic {
  std::vector<ScxStaticRange> ranges;
  std::uint32_t skipped = 0;
};

// struct bpf_prog_stats of a struct_ops program, summed over CPUs.
struct ProgRuntimeStats {
  std::string name;
  std::uint64_t cnt = 0;
  std::uint64_t nsecs = 0;
  std::uint64_t misses = 0;
  std::uint32_t id = 0;  // floe's own key: of the program
};

}  // namespace floe::walkers::bpf
