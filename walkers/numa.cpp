#include "walkers/numa.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "walkers/per_cpu.hpp"

namespace floe::walkers {
namespace {

constexpr std::uint64_t kMaxNodes = 1024;  // MAX_NUMNODES with MAXSMP
constexpr std::uint64_t kMaxZones = 16;    // MAX_NR_ZONES is 5 or 6

struct Fields {
  Field zones;
  std::uint64_t zone_bytes = 0;
  Field present_pages, events;                     // of zone
  std::optional<Field> per_cpu_stats, not_folded;  // zone.per_cpu_zonestats; per_cpu_zonestat.vm_numa_event
  std::array<std::uint64_t, 6> index{};            // of each event, in the order of the record
};

Result<Fields> resolve(const Types& types) {
  Fields fields;
  const auto filled = types.fill(
      {{"pglist_data.node_zones", &fields.zones}, {"zone.present_pages", &fields.present_pages}, {"zone.vm_numa_event", &fields.events}});
  if (!filled) return fail(filled.error());
  const auto bytes = types.size("zone");
  if (!bytes) return fail(bytes.error());
  fields.zone_bytes = *bytes;
  fields.per_cpu_stats = types.maybe_field("zone.per_cpu_zonestats");
  fields.not_folded = types.maybe_field("per_cpu_zonestat.vm_numa_event");
  constexpr std::array<const char*, 6> kNames = {"HIT", "MISS", "FOREIGN", "INTERLEAVE_HIT", "LOCAL", "OTHER"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto value = types.enumerator("numa_stat_item", fmt::format("NUMA_{}", kNames[i])).value_or(static_cast<std::int64_t>(i));
    fields.index[i] = static_cast<std::uint64_t>(std::clamp<std::int64_t>(value, 0, 255));
  }
  return fields;
}

// Adds the event counters at `array` as far as they lie within it.
void add_events(const KernelMemory& memory, Kva array, Field field, const Fields& fields, NodeNuma& sum) {
  const std::array<std::uint64_t*, 6> values = {&sum.numa_hit,   &sum.numa_miss, &sum.numa_foreign, &sum.numa_interleave_hit,
                                                &sum.numa_local, &sum.numa_other};
  for (std::size_t i = 0; i < values.size(); ++i)
    if ((fields.index[i] + 1) * 8 <= field.bytes)
      *values[i] += memory.get<std::uint64_t>(array + field.offset + 8 * fields.index[i]).value_or(0);
}

NodeNuma read_node(const KernelMemory& memory, Kva node, const Fields& fields, const std::vector<CpuArea>& cpus) {
  NodeNuma sum;
  const std::uint64_t zones = std::min(fields.zone_bytes == 0 ? 0 : fields.zones.bytes / fields.zone_bytes, kMaxZones);
  for (std::uint64_t i = 0; i < zones; ++i) {
    const Kva zone = node + fields.zones.offset + i * fields.zone_bytes;
    // The zones without memory all share the boot CPU's counters.
    if (memory.get_number(zone, fields.present_pages).value_or(0) == 0) continue;
    add_events(memory, zone, fields.events, fields, sum);
    if (!fields.per_cpu_stats || !fields.not_folded) continue;
    const auto stats = memory.get_pointer(zone, *fields.per_cpu_stats);
    if (!stats) continue;
    for (const auto& cpu : cpus) add_events(memory, cpu.of(*stats), *fields.not_folded, fields, sum);
  }
  return sum;
}

}  // namespace

Result<std::vector<NodeNuma>> numa_events(const Kernel& kernel) {
  const auto fields = resolve(kernel.types());
  if (!fields) return fail(fields.error());
  const auto node_data = kernel.symbol("node_data");
  if (!node_data) return fail(node_data.error());
  const auto cpus = per_cpu_areas(kernel);
  if (!cpus) return fail(cpus.error());
  std::uint64_t count = 1;
  if (const auto ids = kernel.symbols().find("nr_node_ids"))
    count = std::min<std::uint64_t>(kernel.memory().get<std::uint32_t>(*ids).value_or(1), kMaxNodes);
  std::vector<NodeNuma> nodes;
  for (std::uint64_t id = 0; id < count; ++id) {
    const auto node = kernel.memory().get<std::uint64_t>(*node_data + 8 * id);
    if (!node || *node == 0) continue;
    nodes.push_back(read_node(kernel.memory(), Kva(*node), *fields, *cpus));
    nodes.back().node = static_cast<std::uint32_t>(id);
  }
  return nodes;
}

}  // namespace floe::walkers
