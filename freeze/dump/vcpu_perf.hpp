// The vCPUs' performance counters on their way into a dump. They are in no guest memory: a snapshot carries them as the state of a device,
// read in the pause, so that every snapshot of the ring and every kept file has those of its own instant.
//
//   devices.push_back(saved_vcpu_perf(perf, vm.cpus()));             // where the snapshotter is made
//   perf.open(vm);                                                   // when the vCPUs run
//   const auto samples = vcpu_perf_of(view.machine());               // where the dump is
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "freeze/dump/model.hpp"
#include "freeze/snapshotter.hpp"
#include "vmm/vcpu_perf.hpp"

namespace floe::freeze::dump {

// `perf` outlives the snapshotter. Where it counts nothing, the state is the reason.
SavedDevice saved_vcpu_perf(const vmm::VcpuPerf& perf, unsigned vcpus);

struct VcpuPerfSamples {
  std::vector<std::optional<VcpuPerf>> by_vcpu;
  std::string unavailable;  // why there are none
};

// Bytes of any content are welcome: the file may be somebody else's.
VcpuPerfSamples vcpu_perf_of(const MachineState& machine);

}  // namespace floe::freeze::dump
