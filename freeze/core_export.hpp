// What a core file of a snapshot or of a parked guest says besides the memory (walkers/core/writer.hpp): registers, and where RAM is.
#pragma once

#include <optional>
#include <vector>

#include "freeze/snapshot.hpp"
#include "vmm/vcpu.hpp"
#include "walkers/core/writer.hpp"

namespace floe::freeze {

walkers::core::Registers registers_of(std::uint32_t id, const vmm::VcpuState& state);

// Of a snapshot's vCPU. Where its state is not as this floe writes it, only what the snapshot says beside it: ip, sp and CR3.
walkers::core::Registers registers_of(const VcpuState& vcpu);

// All of it. `vcpus` of another order than their numbers are put in order, as notes are told apart by that alone.
walkers::core::CoreContents core_contents(const SnapshotMeta& meta, const MachineState& machine, const RamLayout& layout,
                                          std::optional<walkers::VmCoreInfo> vmcoreinfo);

}  // namespace floe::freeze
