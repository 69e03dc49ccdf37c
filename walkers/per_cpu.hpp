// Where the CPUs of a kernel have their variables. Kernel::per_cpu() answers for one variable of one CPU; a walk over all CPUs and many
// variables asks once.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct CpuArea {
  std::uint32_t cpu = 0;
  std::uint64_t offset = 0;  // __per_cpu_offset[cpu]: what to add to a per-cpu symbol or pointer

  Kva of(Kva variable) const { return variable + offset; }
};

// One for each CPU that the kernel can have and that has an area. Error: the kernel lacks __per_cpu_offset or nr_cpu_ids.
Result<std::vector<CpuArea>> per_cpu_areas(const Kernel& kernel);

}  // namespace floe::walkers
