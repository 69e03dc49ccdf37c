// A word in a section of a BPF program that tells of a failure as soon as it is set: a probe's, or a scheduler's own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace floe::freeze {

// A 32-bit variable of a BPF program's section. An empty map: there is no latch.
struct LatchName {
  std::string map;  // exactly, as the kernel has it (15 bytes at most): "probe_bp.bss"
  std::string variable;
  std::uint32_t at_least = 1;  // it is triggered from this value on
};

// "MAP:VARIABLE", or "MAP:VARIABLE:AT_LEAST" with a number above 0.
Result<LatchName> parse_latch(std::string_view text);

}  // namespace floe::freeze
