// The notes of a kernel core: who wrote it, what its CPUs were doing, where its kernel is.
//
//   CORE        NT_PRSTATUS, one a CPU                           everybody
//   QEMU        QEMUCPUState, one a CPU                          QEMU, cloud-hypervisor, floe
//   VMCOREINFO  the kernel's note on itself (vmcoreinfo.hpp)     kdump, /proc/kcore, floe; QEMU with a vmcoreinfo device
//   FLOE        when the snapshot was taken                      floe
//
// Hostile like all of a core: sizes are checked against what is there, and a malformed note ends the list with a problem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "walkers/core/registers.hpp"
#include "walkers/vmcoreinfo.hpp"

namespace floe::walkers::core {

inline constexpr std::size_t kMaxCpus = 8192;  // NR_CPUS with MAXSMP

// What floe says of its own cores. Zero is unknown.
struct Origin {
  std::uint64_t sequence = 0;     // of the snapshot
  std::uint64_t realtime_ns = 0;  // when it was taken
};

struct Notes {
  std::vector<Registers> cpus;
  std::optional<VmCoreInfo> vmcoreinfo;
  std::optional<Origin> floe;  // written by floe
  bool qemu = false;           // has QEMU's notes (floe's cores have them too)
  bool task_struct = false;    // has NT_TASKSTRUCT, which /proc/kcore alone writes
  std::vector<std::string> problems;
};

// Adds what the notes in `bytes` (one PT_NOTE segment) say.
void read_notes(std::span<const std::byte> bytes, Notes& into);

// A PT_NOTE segment that says this; what is absent gets no note.
std::vector<std::byte> write_notes(const Notes& notes);

}  // namespace floe::walkers::core
