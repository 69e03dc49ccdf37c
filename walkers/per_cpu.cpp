#include "walkers/per_cpu.hpp"

namespace floe::walkers {

Result<std::vector<CpuArea>> per_cpu_areas(const Kernel& kernel) {
  const auto cpus = kernel.possible_cpus();
  if (!cpus) return fail(cpus.error());
  const auto offsets = kernel.symbol("__per_cpu_offset");
  if (!offsets) return fail(offsets.error());
  std::vector<CpuArea> areas;
  areas.reserve(cpus->size());
  for (const std::uint32_t cpu : *cpus) {
    const auto offset = kernel.memory().load<std::uint64_t>(*offsets + std::uint64_t{8} * cpu, "__per_cpu_offset");
    if (!offset) return fail(offset.error());
    // Without SMP the first CPU's variables are the symbols themselves; no other can be there.
    if (*offset == 0 && cpu > 0) continue;
    areas.push_back({cpu, *offset});
  }
  return areas;
}

}  // namespace floe::walkers
