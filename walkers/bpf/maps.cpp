#include "walkers/bpf/maps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "walkers/bpf/layout.hpp"
#include "walkers/bpf/walk.hpp"
#include "walkers/xarray.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::array<std::string_view, 36> kTypeNames = {"",
                                                         "hash",
                                                         "array",
                                                         "prog_array",
                                                         "perf_event_array",
                                                         "percpu_hash",
                                                         "percpu_array",
                                                         "stack_trace",
                                                         "cgroup_array",
                                                         "lru_hash",
                                                         "lru_percpu_hash",
                                                         "lpm_trie",
                                                         "array_of_maps",
                                                         "hash_of_maps",
                                                         "devmap",
                                                         "sockmap",
                                                         "cpumap",
                                                         "xskmap",
                                                         "sockhash",
                                                         "cgroup_storage",
                                                         "reuseport_sockarray",
                                                         "percpu_cgroup_storage",
                                                         "queue",
                                                         "stack",
                                                         "sk_storage",
                                                         "devmap_hash",
                                                         "struct_ops",
                                                         "ringbuf",
                                                         "inode_storage",
                                                         "task_storage",
                                                         "bloom_filter",
                                                         "user_ringbuf",
                                                         "cgrp_storage",
                                                         "arena",
                                                         "insn_array",
                                                         "rhash"};

std::optional<MapInfo> read_map(const KernelMemory& memory, const MapFields& fields, Kva address) {
  bool whole = true;
  const auto number = [&](const Field& field) {
    const auto value = memory.get_number(address, field);
    whole = whole && value;
    return static_cast<std::uint32_t>(value.value_or(0));
  };
  MapInfo map;
  map.address = address;
  map.type = MapType{number(fields.type)};
  map.flags = number(fields.flags);
  map.key_size = number(fields.key_size);
  map.value_size = number(fields.value_size);
  map.max_entries = number(fields.max_entries);
  map.btf_key_type_id = number(fields.key_type);
  map.btf_value_type_id = number(fields.value_type);
  if (fields.vmlinux_value_type) map.btf_vmlinux_value_type_id = number(*fields.vmlinux_value_type);
  map.btf = memory.get_pointer(address, fields.btf);
  const auto name = memory.get_string(address, fields.name);
  if (!whole || !name) return std::nullopt;
  map.name = *name;
  return map;
}

Family family_of(MapType type) {
  switch (type) {
    case MapType::array:
      return walk_array;
    case MapType::percpu_array:
      return walk_percpu_array;
    case MapType::insn_array:
      return walk_insn_array;
    case MapType::hash:
    case MapType::lru_hash:
    case MapType::percpu_hash:
    case MapType::lru_percpu_hash:
    case MapType::hash_of_maps:
      return walk_hash;
    case MapType::rhash:
      return walk_rhash;
    case MapType::task_storage:
    case MapType::inode_storage:
    case MapType::sk_storage:
    case MapType::cgrp_storage:
      return walk_local_storage;
    case MapType::lpm_trie:
      return walk_lpm_trie;
    case MapType::queue:
    case MapType::stack:
      return walk_queue;
    case MapType::struct_ops:
      return walk_struct_ops;
    case MapType::sockhash:
      return walk_sockhash;
    case MapType::devmap_hash:
      return walk_devmap_hash;
    case MapType::cgroup_storage:
    case MapType::percpu_cgroup_storage:
      return walk_cgroup_storage;
    default:
      return nullptr;
  }
}

}  // namespace

std::string_view to_string(MapType type) {
  const auto number = static_cast<std::uint32_t>(type);
  return number < kTypeNames.size() ? kTypeNames[number] : std::string_view{};
}

std::vector<std::optional<std::uint64_t>> per_cpu_offsets(const Kernel& kernel) {
  std::vector<std::optional<std::uint64_t>> offsets;
  const auto cpus = kernel.possible_cpus();
  const auto table = kernel.symbols().find("__per_cpu_offset");
  if (!cpus || !table) return offsets;
  for (const auto cpu : *cpus) {
    offsets.resize(cpu + 1);
    offsets[cpu] = kernel.memory().get<std::uint64_t>(*table + std::uint64_t{8} * cpu);
    // A CPU that never came to be has no area of its own; only that of the boot CPU may lie at 0.
    if (cpu > 0 && offsets[cpu] == std::uint64_t{0}) offsets[cpu].reset();
  }
  return offsets;
}

Result<MapTable> find_maps(const Kernel& kernel, WalkBudget& budget) {
  const auto idr = kernel.symbol("map_idr");
  if (!idr) return fail(idr.error());
  const auto fields = MapFields::resolve(kernel.types());
  if (!fields) return fail(fields.error());

  MapTable table;
  std::uint64_t unreadable = 0;
  const auto walk = walk_idr(kernel, *idr, budget, [&](std::uint64_t id, Kva address) {
    if (auto map = read_map(kernel.memory(), *fields, address)) {
      map->id = static_cast<std::uint32_t>(id);
      table.maps.push_back(std::move(*map));
    } else if (unreadable++ == 0) {
      table.problems.push_back(fmt::format("map {} is unreadable: {}", id, kernel.memory().explain(address)));
    }
    return true;
  });
  if (!walk) return fail(walk.error());
  table.complete = walk->complete && unreadable == 0;
  if (unreadable > 1) table.problems.push_back(fmt::format("{} maps are unreadable", unreadable));
  table.problems.insert(table.problems.end(), walk->problems.begin(), walk->problems.end());
  return table;
}

MapReader::MapReader(const Kernel& kernel)
    : kernel_(&kernel), layout_(std::make_unique<const Layout>(kernel.types())), per_cpu_(per_cpu_offsets(kernel)) {}
MapReader::~MapReader() = default;
MapReader::MapReader(MapReader&&) noexcept = default;
MapReader& MapReader::operator=(MapReader&&) noexcept = default;

bool MapReader::has_elements(MapType type) {
  return family_of(type) != nullptr;
}

Walked MapReader::elements(const MapInfo& map, WalkBudget& budget, const ElementVisit& visit) const {
  Walk walk(kernel_->memory(), *layout_, per_cpu_, budget, visit);
  const auto family = family_of(map.type);
  if (family == nullptr) {
    walk.miss(fmt::format("a {} map has no keys and values", to_string(map.type)));
    return std::move(walk.result);
  }
  if (auto walked = family(walk, map); !walked) walk.miss(std::move(walked.error().message));
  return std::move(walk.result);
}

Result<std::string> MapReader::describe(const MapInfo& map, WalkBudget& budget) const {
  if (map.type == MapType::bloom_filter) return describe_bloom(kernel_->memory(), layout_->bloom, map, budget);
  if (to_string(map.type).empty())
    return fail(fmt::format("unknown map_type {}: the kernel is newer than this program", static_cast<std::uint32_t>(map.type)));
  return fail(fmt::format("nothing is known of a {} map but its shape", to_string(map.type)));
}

Result<void> check_sizes(const MapInfo& map, bool keyed) {
  for (const auto& [what, bytes, needed] : {std::tuple("key", map.key_size, keyed), std::tuple("value", map.value_size, true)}) {
    if (bytes > kMaxElementBytes)
      return fail(fmt::format("{}_size {} is more than the {} MiB that are read of one", what, bytes, kMaxElementBytes >> 20));
    if (needed && bytes == 0) return fail(fmt::format("{}_size is 0", what));
  }
  return {};
}

Result<PerCpuValues> PerCpuValues::make(const Walk& walk, std::uint32_t value_size) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;
  const std::uint64_t bytes = std::uint64_t{value_size} * walk.per_cpu.size();
  if (walk.per_cpu.empty()) return fail("the per-CPU offsets of the kernel are unreadable");
  if (bytes > kMost)
    return fail(fmt::format("value_size {} for each of {} CPUs is more than {} MiB", value_size, walk.per_cpu.size(), kMost >> 20));
  PerCpuValues values;
  values.value_size_ = value_size;
  values.bytes_.resize(bytes);
  values.values_.resize(walk.per_cpu.size());
  return values;
}

std::span<const std::optional<std::span<const std::byte>>> PerCpuValues::read(const Walk& walk, std::uint64_t pointer) {
  if (pointer == 0) return {};
  for (std::size_t cpu = 0; cpu < values_.size(); ++cpu) {
    values_[cpu].reset();
    if (!walk.per_cpu[cpu]) continue;
    const auto out = std::span(bytes_).subspan(cpu * value_size_, value_size_);
    if (walk.memory.read_all(Kva(pointer) + *walk.per_cpu[cpu], out)) values_[cpu] = out;
  }
  return values_;
}

}  // namespace floe::walkers::bpf
