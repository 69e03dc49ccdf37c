#include "walkers/bpf/dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "walkers/bpf/allocators.hpp"
#include "walkers/bpf/arena.hpp"
#include "walkers/bpf/arena_index.hpp"
#include "walkers/bpf/casts.hpp"
#include "walkers/bpf/loaded_object.hpp"
#include "walkers/bpf/map_renderer.hpp"
#include "walkers/bpf/programs.hpp"
#include "walkers/bpf/section.hpp"
#include "walkers/render/program_types.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kMostSteps = 4'000'000;  // of one walk that is not a map's
constexpr std::uint64_t kLowHalf = 0xffffffff;
constexpr std::size_t kMostObjects = 64;  // whose instructions are looked at
constexpr auto kTableTime = std::chrono::milliseconds(50);

class Dump {
 public:
  Dump(const Kernel& kernel, const DumpOptions& options)
      : kernel_(kernel), options_(options), reader_(kernel), types_(kernel), index_(kernel.memory()), rendering_(options) {
    rendering_.casts = [this](const render::TypeTable& types) { return casts(types); };
  }

  MapsDump run() {
    read_tables();
    programs();
    open_arena();
    load_types();
    analyse_programs();
    allocations();
    render_maps();
    return std::move(dump_);
  }

 private:
  WalkBudget budget() const { return WalkBudget(kMostSteps, options_.deadline); }
  // Which maps and programs there are is found out even when the deadline is over, so that what is left out can be counted; for no
  // longer than this, whatever the guest made of its tables.
  WalkBudget table_budget() const {
    if (!options_.deadline) return budget();
    return WalkBudget(kMostSteps, std::max(*options_.deadline, WalkBudget::Clock::now() + kTableTime));
  }
  bool late() const { return options_.deadline && WalkBudget::Clock::now() >= *options_.deadline; }

  void read_tables() {
    auto steps = table_budget();
    auto found = find_maps(kernel_, steps);
    if (!found) {
      dump_.maps_unavailable = found.error().message;
      return;
    }
    for (const auto& problem : found->problems) dump_.problems.push_back("maps: " + problem);
    if (!found->complete && !found->problems.empty()) dump_.maps_unavailable = found->problems.front();
    maps_ = std::move(*found);
    if (options_.leave_out) std::erase_if(maps_.maps, [&](const MapInfo& map) { return options_.leave_out(map.name); });
  }

  void programs() {
    auto steps = table_budget();
    auto found = find_programs(kernel_, steps);
    if (!found) {
      dump_.prog_runtime_stats_unavailable = NoPrograms::unavailable;
      dump_.problems.push_back("programs: " + found.error().message);
      return;
    }
    for (const auto& problem : found->problems) dump_.problems.push_back("programs: " + problem);
    dump_.prog_runtime_stats = struct_ops_stats(*found);
    if (dump_.prog_runtime_stats.empty()) {
      const bool loaded = std::any_of(found->programs.begin(), found->programs.end(),
                                      [](const Program& program) { return program.type == kStructOpsProgram; });
      dump_.prog_runtime_stats_unavailable = loaded || !found->complete ? NoPrograms::unavailable : NoPrograms::none_loaded;
      if (loaded) dump_.problems.emplace_back("programs: the statistics of none of struct_ops are readable");
    }
    const auto active = active_scheduler(*found, maps_);
    dump_.active_obj_name = active.object;
    for (const Kva map : active.maps) dump_.active_map_kvas.push_back(map.value);
    programs_ = std::move(*found);
  }

  // One that the scheduler uses before others.
  const MapInfo* choose(auto suits) const {
    const MapInfo* first = nullptr;
    for (const auto& map : maps_.maps) {
      if (!suits(map)) continue;
      if (first == nullptr) first = &map;
      if (std::find(dump_.active_map_kvas.begin(), dump_.active_map_kvas.end(), map.address.value) != dump_.active_map_kvas.end())
        return &map;
    }
    return first;
  }

  void open_arena() {
    const auto* map = choose([](const MapInfo& candidate) { return candidate.type == MapType::arena; });
    if (map == nullptr) return;
    auto arena = Arena::open(reader_, *map);
    if (arena)
      index_.set_arena(std::move(*arena));
    else
      dump_.problems.push_back(fmt::format("arena {}: {}", map->name, arena.error().message));
  }

  void load_types() {
    std::vector<const render::TypeTable*> known;
    for (const auto& map : maps_.maps) {
      if (!map.btf || late()) continue;
      const auto table = types_.at(kernel_.memory(), *map.btf);
      if (!table || std::find(known.begin(), known.end(), table->get()) != known.end()) continue;
      known.push_back(table->get());
      index_.add(*table);
    }
  }

  // Of each object that has maps to be shown, and of which the caller knows nothing.
  void analyse_programs() {
    auto steps = budget();
    std::size_t objects = 0;
    for (const auto& map : maps_.maps) {
      if (!map.btf || late()) continue;
      const auto table = types_.at(kernel_.memory(), *map.btf);
      if (!table || casts(**table) != nullptr || loaded_casts_.contains(table->get()) || objects++ == kMostObjects) continue;
      render::Casts& found = loaded_casts_[table->get()];
      const auto loaded = loaded_object(kernel_, programs_, maps_, *map.btf, *table, steps);
      if (!loaded) {
        dump_.problems.push_back("casts: " + loaded.error().message);
        return;
      }
      for (const auto& problem : loaded->problems) dump_.problems.push_back("casts: " + problem);
      found = casts_of(loaded->object, options_.deadline);
    }
  }

  const render::Casts* casts(const render::TypeTable& types) const {
    const render::Casts* const known = options_.casts ? options_.casts(types) : nullptr;
    if (known != nullptr) return known;
    const auto loaded = loaded_casts_.find(&types);
    return loaded == loaded_casts_.end() ? nullptr : &loaded->second;
  }

  // The scheduler's variables. Nothing when no map of them can be read, or no types of it.
  std::optional<Section> variables() {
    const auto* map = choose([](const MapInfo& candidate) {
      return candidate.type == MapType::array && candidate.max_entries == 1 && candidate.btf && candidate.name.ends_with(".bss");
    });
    if (map == nullptr) return std::nullopt;
    const auto types = types_.at(kernel_.memory(), *map->btf);
    if (!types) {
      dump_.problems.push_back(fmt::format("{}: {}", map->name, types.error().message));
      return std::nullopt;
    }
    Section section{{}, *types, map->btf_value_type_id};
    auto steps = budget();
    reader_.elements(*map, steps, [&](const Element& element) {
      if (element.value) section.bytes.assign(element.value->begin(), element.value->end());
      return true;
    });
    if (section.bytes.empty()) return std::nullopt;
    return section;
  }

  void allocations() {
    if (late()) {
      dump_.sdt_alloc_unavailable = NoAllocations::deadline;
      return;
    }
    const auto section = variables();
    if (section) {
      dump_.scx_static_ranges = find_static_areas(*section);
      index_.add(dump_.scx_static_ranges);
    }
    dump_.sdt_alloc_unavailable = allocators(section);
  }

  std::optional<NoAllocations> allocators(const std::optional<Section>& section) {
    const auto& arena = index_.arena();
    if (!arena) return NoAllocations::no_arena;
    if ((arena->user_vm_start() & kLowHalf) != 0) return NoAllocations::unaligned;
    if (!section) return NoAllocations::no_bss;
    if (arena->kern_vm_start() == 0) return NoAllocations::no_arena;
    auto steps = budget();
    const auto pools = find_allocators(*section, *arena, kernel_.memory(), options_.limits, steps);
    if (!pools) {
      dump_.problems.push_back("allocators: " + pools.error().message);
      return NoAllocations::no_type;
    }
    if (pools->empty()) return NoAllocations::no_instance;
    // All are known before any is shown: what they hold points at one another.
    for (const auto& pool : *pools) index_.add(pool);
    MapRenderer renderer(reader_, index_, types_, rendering_);
    for (const auto& pool : *pools) dump_.sdt_allocations.push_back(show(*arena, pool, renderer));
    return std::nullopt;
  }

  SdtAllocator show(const Arena& arena, const SdtPool& pool, MapRenderer& renderer) const {
    SdtAllocator shown;
    shown.allocator_name = pool.name;
    shown.truncated = pool.truncated;
    shown.skipped_subtrees = pool.skipped_subtrees;
    shown.elem_size = pool.elem_size;
    shown.target_type_id = pool.payload.id;
    shown.payload_type_reason = pool.payload_reason;
    if (pool.slots.empty()) return shown;
    std::vector<std::byte> bytes(pool.elem_size);
    for (const auto& slot : pool.slots) {
      if (late()) {
        shown.truncated = true;
        break;
      }
      SdtAllocEntry entry{slot.idx, slot.genn, slot.user_address & kLowHalf, {}};
      const std::size_t got = arena.read(kernel_.memory(), slot.user_address, bytes);
      if (got == bytes.size())
        entry.payload = renderer.value(pool.payload, std::span(bytes).subspan(pool.header_bytes), slot.user_address + pool.header_bytes);
      else
        entry.payload = {render::Unsupported{fmt::format("{} of {} bytes are readable: {}", got, bytes.size(),
                                                         kernel_.memory().explain(arena.kernel_address(slot.user_address + got)))}};
      shown.entries.push_back(std::move(entry));
    }
    return shown;
  }

  void render_maps() {
    MapRenderer renderer(reader_, index_, types_, rendering_);
    for (const auto& map : maps_.maps) {
      if (late())
        ++dump_.maps_truncated;
      else
        dump_.maps.push_back(renderer.render(map));
    }
  }

  const Kernel& kernel_;
  const DumpOptions& options_;
  MapReader reader_;
  render::ProgramTypes types_;
  ArenaIndex index_;
  MapTable maps_;
  ProgramTable programs_;
  std::map<const render::TypeTable*, render::Casts> loaded_casts_;
  DumpOptions rendering_;  // with those casts
  MapsDump dump_;
};

}  // namespace

MapsDump dump_maps(const Kernel& kernel, const DumpOptions& options) {
  return Dump(kernel, options).run();
}

}  // namespace floe::walkers::bpf
