// The guest's BPF maps: which there are, and what is in them, as bytes.
//
// find_maps() walks map_idr. A MapReader then visits the elements of any of them: one visitor for all types that hold keys and values,
// a function each for those that hold something else. What the bytes mean is the renderer's business (map_dump.hpp brings both together).
//
//   WalkBudget budget;
//   const auto table = bpf::find_maps(kernel, budget);
//   const auto reader = bpf::MapReader(kernel);
//   for (const auto& map : table->maps)
//     reader.elements(map, budget, [&](const bpf::Element& element) { ...; return true; });
//
// Everything here is the guest's word: sizes are bounded before they are used, chains are proof against loops, elements that are on a
// chain they do not belong to are left out. A walk that could not see all says so in its notes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers::bpf {

// enum bpf_map_type of include/uapi/linux/bpf.h.
enum class MapType : std::uint32_t {
  hash = 1,
  array,
  prog_array,
  perf_event_array,
  percpu_hash,
  percpu_array,
  stack_trace,
  cgroup_array,
  lru_hash,
  lru_percpu_hash,
  lpm_trie,
  array_of_maps,
  hash_of_maps,
  devmap,
  sockmap,
  cpumap,
  xskmap,
  sockhash,
  cgroup_storage,
  reuseport_sockarray,
  percpu_cgroup_storage,
  queue,
  stack,
  sk_storage,
  devmap_hash,
  struct_ops,
  ringbuf,
  inode_storage,
  task_storage,
  bloom_filter,
  user_ringbuf,
  cgrp_storage,
  arena,
  insn_array,
  rhash,
};

// "hash", "array", ...; empty for a number that is not known.
std::string_view to_string(MapType type);

// struct bpf_map.
struct MapInfo {
  std::uint32_t id = 0;
  Kva address;
  std::string name;
  MapType type{};
  std::uint32_t flags = 0;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::optional<Kva> btf;  // struct btf of the program; absent: the type ids, if any, are the kernel's
  std::uint32_t btf_key_type_id = 0;
  std::uint32_t btf_value_type_id = 0;
  std::uint32_t btf_vmlinux_value_type_id = 0;
};

struct MapTable {
  std::vector<MapInfo> maps;  // in order of their ids
  bool complete = true;
  std::vector<std::string> problems;
};

// Error: the kernel has no map_idr, or its BTF no struct bpf_map.
Result<MapTable> find_maps(const Kernel& kernel, WalkBudget& budget);

// What, added to a per-CPU pointer, gives the address on a CPU; by CPU, absent for those that cannot exist. Empty when unreadable.
std::vector<std::optional<std::uint64_t>> per_cpu_offsets(const Kernel& kernel);

inline constexpr std::uint64_t kMaxElementBytes = std::uint64_t{16} << 20;  // of a key, or of a value

// One element as it lies in memory, for the time of the visit.
struct Element {
  std::span<const std::byte> key;
  std::optional<std::span<const std::byte>> value;                     // absent: unreadable; also for the types with a value per CPU
  std::span<const std::optional<std::span<const std::byte>>> per_cpu;  // by CPU; absent: that CPU has none that can be read
  Kva address;                                                         // of the value; of the per-CPU pointer for those types
};

// False ends the walk.
using ElementVisit = std::function<bool(const Element&)>;

struct Walked {
  std::uint64_t elements = 0;      // visited
  bool complete = true;            // they are all there are
  std::vector<std::string> notes;  // why not, and what else a reader must know
};

// How much of a map is taken. 0 is all of it.
struct MapLimits {
  std::uint64_t array_keys = 4096;
  std::uint64_t percpu_keys = 256;
  std::uint64_t hash_entries = 4096;  // and those of local storages, tries and queues
  std::uint64_t stack_buckets = 16'384;
  std::uint64_t fd_slots = 4096;
  std::uint64_t fd_indices = 1024;
  std::uint64_t arena_pages = 4096;
  std::uint64_t allocator_slots = 4096;
  std::uint64_t array_elements = 4096;                  // of an array within a value
  std::uint64_t bytes = std::uint64_t{8} << 20;         // copied out of one map
  std::uint64_t total_bytes = std::uint64_t{20} << 20;  // and out of all of them
};

struct Layout;  // layout.hpp

// Reads maps of one kernel. Resolves every struct it needs once; holds the kernel by reference, so it belongs to the same thread.
class MapReader {
 public:
  explicit MapReader(const Kernel& kernel);
  ~MapReader();
  MapReader(MapReader&&) noexcept;
  MapReader& operator=(MapReader&&) noexcept;

  // True for the types below that elements() walks: they hold keys and values.
  static bool has_elements(MapType type);
  // And these hold kernel pointers by index (or by key).
  static bool is_fd_array(MapType type);

  // Every element once. Arrays in order of their keys, which are 4 bytes; hashes in the order of their buckets; local storages with the
  // owner's address as an 8-byte key; queues and stacks from the oldest element on, without keys; struct_ops as one element without key,
  // whose value is the kernel's copy of the ops.
  Walked elements(const MapInfo& map, WalkBudget& budget, const ElementVisit& visit) const;

  // The other families. Errors tell why there is nothing; what is merely incomplete is said in the result.
  Result<Ringbuf> ringbuf(const MapInfo& map) const;
  Result<StackTrace> stack_trace(const MapInfo& map, const MapLimits& limits, WalkBudget& budget) const;
  Result<FdArray> fd_array(const MapInfo& map, const MapLimits& limits, WalkBudget& budget) const;

  // A sentence about a type that holds nothing to list (a bloom filter's bits).
  Result<std::string> describe(const MapInfo& map, WalkBudget& budget) const;

  const Kernel& kernel() const { return *kernel_; }
  const Layout& layout() const { return *layout_; }

 private:
  const Kernel* kernel_;
  std::unique_ptr<const Layout> layout_;
  std::vector<std::optional<std::uint64_t>> per_cpu_;
};

}  // namespace floe::walkers::bpf
