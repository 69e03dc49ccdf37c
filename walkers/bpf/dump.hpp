// Everything of BPF that the failure dump holds, in one call: maps with their elements rendered through BTF, the memory of the arena's
// allocators, the scheduler's object, the statistics of its programs.
//
//   auto bpf = bpf::dump_maps(kernel, {.deadline = soon});
//   report.maps = std::move(bpf.maps);
//
// One bad map never costs the rest: it is listed with its shape and an `error` for people.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers::render {
class Casts;
class TypeTable;
}  // namespace floe::walkers::render

namespace floe::walkers::bpf {

struct DumpOptions {
  MapLimits limits = {};
  std::optional<WalkBudget::Clock::time_point> deadline = std::nullopt;
  std::function<bool(std::string_view name)> leave_out = {};  // maps that are the tool's own: neither shown nor read nor counted
  // Which integers of a program's types are pointers; null where that was not found out. What it returns outlives the call. Where there is
  // none, or it does not know the types, the instructions of the programs in the kernel tell (loaded_object.hpp).
  std::function<const render::Casts*(const render::TypeTable& types)> casts = {};
};

// Why there are no allocations, the first reason that holds.
enum class NoAllocations { deadline, unaligned, no_bss, no_arena, no_type, no_instance };
// Why there are no statistics of programs.
enum class NoPrograms { none_loaded, unavailable };

struct MapsDump {
  std::vector<Map> maps;                        // in order of their ids
  std::optional<std::string> maps_unavailable;  // the table of maps could not be read, or not whole
  std::uint32_t maps_truncated = 0;             // left out for the deadline
  std::optional<std::string> active_obj_name;
  std::vector<std::uint64_t> active_map_kvas;
  std::vector<SdtAllocator> sdt_allocations;
  std::optional<NoAllocations> sdt_alloc_unavailable;
  ScxStatic scx_static_ranges;
  std::vector<ProgRuntimeStats> prog_runtime_stats;
  std::optional<NoPrograms> prog_runtime_stats_unavailable;
  std::vector<std::string> problems;
};

MapsDump dump_maps(const Kernel& kernel, const DumpOptions& options = {});

}  // namespace floe::walkers::bpf
