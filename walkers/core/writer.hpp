// Any Memory as an ELF core that drgn, crash, gdb and floe read: one PT_LOAD per run of pages that are not zero, its memory size reaching
// over the zero pages behind it, so that the file is as small as what the guest used; VMCOREINFO, and the registers of each CPU twice, as
// NT_PRSTATUS and in QEMU's form, which alone has CR3.
//
// What is RAM and cannot be read (a damaged page of a kept snapshot) has no segment: absent, not zero, and counted. Headers stand first,
// for crash looks nowhere else. The file is whole or absent. Blocking; for worker threads and the edges of the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/core/notes.hpp"
#include "walkers/memory.hpp"

namespace floe::walkers::core {

struct CoreContents {
  // What is RAM, in whole pages; what populated() leaves out of it is zero. Empty: what populated() says, and nothing else.
  std::vector<PhysRange> ram;
  Notes notes;
};

struct CoreSummary {
  std::uint64_t segments = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t absent_bytes = 0;  // RAM that could not be read
};

// Errors name the file. Memory that becomes unreadable while it is being written is one.
Result<CoreSummary> write_core(const std::string& path, const Memory& memory, const CoreContents& contents);

}  // namespace floe::walkers::core
