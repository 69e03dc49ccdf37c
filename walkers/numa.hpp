// Where pages came from: the NUMA events of each node, as /sys/devices/system/node/nodeN/numastat has them.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "walkers/kernel.hpp"
#include "walkers/records.hpp"

namespace floe::walkers {

// Summed over a node's zones, with what CPUs have counted and not yet folded into them. Error: the kernel is built without NUMA, or its BTF
// lacks the fields.
Result<std::vector<NodeNuma>> numa_events(const Kernel& kernel);

}  // namespace floe::walkers
