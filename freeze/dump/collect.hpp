// Walks a kernel and puts all that is found into a report.
//
//   const auto kernel = walkers::Kernel::open(snapshot);
//   const dump::Report report = dump::collect(*kernel, {.cpus = registers, .capture = {.source = "snapshot"}});
//   write(dump::to_json(report));
//
// Phases follow one another in a fixed order. The deadline is soft: a phase that runs stops at its next bounded step, those that may be
// skipped are, maps that were not rendered are counted, and dump_truncated_at_us says when it was first seen to be over. A phase that
// cannot run leaves its reason and none of the others without.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "freeze/dump/model.hpp"
#include "walkers/bpf/casts.hpp"
#include "walkers/core/registers.hpp"
#include "walkers/kernel.hpp"

namespace floe::freeze::dump {

struct CollectOptions {
  std::chrono::nanoseconds deadline = std::chrono::seconds(10);  // from the call on; 0: none
  std::optional<std::uint64_t> max_entries;                      // of each list that has a cap, instead of it; 0: all there are

  Capture capture;                             // source and times; the rest is filled in here
  std::vector<walkers::core::Registers> cpus;  // of the vCPUs that are known
  std::vector<std::optional<VcpuPerf>> vcpu_perf;
  std::string vcpu_perf_unavailable;                // why there are none, if so
  std::vector<walkers::scx::EventCounters> events;  // of samples before this instant
  std::string cgroup = "/";                         // pressure is told of the leaves below

  // Of the scheduler's executable: pointers that it keeps in integers are shown as such. Null: as the integers they are.
  const walkers::bpf::CastAnalysis* casts = nullptr;
};

Report collect(const walkers::Kernel& kernel, const CollectOptions& options);

// Maps of floe's own probe, which no report shows.
bool is_own_map(std::string_view name);

inline constexpr std::size_t kMostTasks = 4096;
inline constexpr std::size_t kMostLogLines = 4096;
inline constexpr std::size_t kMostBacktraces = 64;

}  // namespace floe::freeze::dump
