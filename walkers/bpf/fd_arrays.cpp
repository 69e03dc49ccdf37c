// Maps that user space fills with file descriptors and the kernel with pointers, one per index. Where the table of pointers is differs:
// within struct bpf_array, struct xsk_map and struct reuseport_array, behind a pointer in struct bpf_dtab, bpf_stab and bpf_cpu_map.
#include <array>

#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {
namespace {

struct Table {
  std::optional<std::uint32_t> offset;
  bool behind_pointer = false;
  const char* member = "";
};

Result<Table> table_of(const Layout& layout, MapType type) {
  const auto& pointers = layout.pointers;
  switch (type) {
    case MapType::prog_array:
    case MapType::perf_event_array:
    case MapType::cgroup_array:
    case MapType::array_of_maps:
      if (!layout.array) return fail(layout.array.error());
      return Table{layout.array->value, false, "bpf_array.ptrs"};
    case MapType::devmap:
      return Table{pointers.devmap, true, "bpf_dtab.netdev_map"};
    case MapType::sockmap:
      return Table{pointers.sockmap, true, "bpf_stab.sks"};
    case MapType::cpumap:
      return Table{pointers.cpumap, true, "bpf_cpu_map.cpu_map"};
    case MapType::xskmap:
      return Table{pointers.xskmap, false, "xsk_map.xsk_map"};
    case MapType::reuseport_sockarray:
      return Table{pointers.reuseport, false, "reuseport_array.ptrs"};
    default:
      return fail(fmt::format("a {} map has no table of pointers", to_string(type)));
  }
}

// What user space is told of the object in a slot: its id.
std::optional<std::uint32_t> id_of(const KernelMemory& memory, const Layout& layout, MapType type, std::uint64_t pointer) {
  if (type == MapType::array_of_maps && layout.map_id) return memory.get<std::uint32_t>(Kva(pointer) + *layout.map_id);
  if (type == MapType::prog_array && layout.prog_aux && layout.prog_id)
    if (const auto aux = memory.get<std::uint64_t>(Kva(pointer) + *layout.prog_aux); aux && *aux != 0)
      return memory.get<std::uint32_t>(Kva(*aux) + *layout.prog_id);
  return std::nullopt;
}

}  // namespace

bool MapReader::is_fd_array(MapType type) {
  switch (type) {
    case MapType::prog_array:
    case MapType::perf_event_array:
    case MapType::cgroup_array:
    case MapType::array_of_maps:
    case MapType::devmap:
    case MapType::sockmap:
    case MapType::cpumap:
    case MapType::xskmap:
    case MapType::reuseport_sockarray:
      return true;
    default:
      return false;
  }
}

Result<FdArray> MapReader::fd_array(const MapInfo& map, const MapLimits& limits, WalkBudget& budget) const {
  const auto& memory = kernel_->memory();
  const auto table = table_of(*layout_, map.type);
  if (!table) return fail(table.error());
  if (!table->offset) return fail(fmt::format("the kernel's BTF has no {}", table->member));
  Kva slots = map.address + *table->offset;
  if (table->behind_pointer) {
    const auto pointer = memory.load<std::uint64_t>(slots, table->member);
    if (!pointer) return fail(pointer.error());
    if (*pointer == 0) return fail(fmt::format("{} is null", table->member));
    slots = Kva(*pointer);
  }

  FdArray result;
  const std::uint64_t count = limits.fd_slots == 0 ? map.max_entries : std::min<std::uint64_t>(limits.fd_slots, map.max_entries);
  std::array<std::uint64_t, 512> chunk;
  std::uint64_t first = 0;
  for (; first < count && budget.step(); first += chunk.size()) {
    const auto here = std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), count - first));
    // What a page that is missing takes with it is counted, and the walk goes on behind it.
    std::size_t good = 0;
    const bool whole = memory.read_all(slots + 8 * first, std::as_writable_bytes(here));
    for (std::size_t i = 0; i < here.size(); ++i) {
      const auto value = whole ? std::optional(here[i]) : memory.get<std::uint64_t>(slots + 8 * (first + i));
      good += value ? 1 : 0;
      if (value.value_or(0) == 0) continue;
      ++result.populated;
      if (limits.fd_indices != 0 && result.indices.size() >= limits.fd_indices) {
        result.indices_truncated = true;
        continue;
      }
      result.indices.push_back(static_cast<std::uint32_t>(first + i));
      if (map.type == MapType::array_of_maps || map.type == MapType::prog_array)
        result.ids.push_back(id_of(memory, *layout_, map.type, *value));
    }
    result.scanned += static_cast<std::uint32_t>(here.size());
    result.unreadable += static_cast<std::uint32_t>(here.size() - good);
  }
  result.truncated = result.scanned < map.max_entries;
  return result;
}

}  // namespace floe::walkers::bpf
