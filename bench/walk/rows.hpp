// The rows of bench_walk. Contenders take turns round by round; what is CPU-bound is charged with CPU time of its thread (or, of another
// program, of its process), so that a busy machine costs caches but no waiting.
#pragma once

#include "base/result.hpp"
#include "bench/report/report.hpp"
#include "bench/report/settings.hpp"
#include "bench/walk/memories.hpp"

namespace floe::bench {

inline constexpr std::uint32_t kBigMapEntries = 100'000;

// kernel.cpp: a kernel opened from nothing, and with the tables of one opened before; libbpf's parse of the same BTF; the baseline of all,
// a plain copy of memory.
Result<> kernel_rows(const Settings& settings, const Guest& big, Report& report);
// walks.cpp: the task table, the DSQs, the whole dump of a stalled scheduler.
Result<> walk_rows(const Settings& settings, const Guest& big, const Guest& stalled, Report& report);
// hash.cpp: the big map, walked and rendered, beside the live one of this machine.
Result<> hash_rows(const Settings& settings, const Guest& big, Report& report);
// ring.cpp: the same walks of live memory and of an entry of the ring.
Result<> ring_rows(const Settings& settings, const Guest& big, Report& report);

// One walk, by a kernel opened afresh (its translation cache is empty): CPU milliseconds.
Result<walkers::Kernel> afresh(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known);
Result<double> raw_hash_ms(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known);
struct TaskTableTimes {
  double table = 0, with_details = 0;
  std::size_t tasks = 0;
};
Result<TaskTableTimes> task_table_ms(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known);

inline unsigned rounds_of(const Settings& settings, unsigned usual) {
  return settings.rounds > 0 ? settings.rounds : settings.quick ? 2 : usual;
}

}  // namespace floe::bench
