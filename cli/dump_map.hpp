// `floe dump --map NAME MEMORY`: one BPF map, of any size, as JSON while it is read.
#pragma once

#include <chrono>
#include <string>

#include "cli/exit.hpp"
#include "cli/memory_source.hpp"

namespace floe::cli {

// To `out`, or stdout when that is empty. `name` may also be an id. Not all could be read: said on stderr.
Verdict write_map(const MemorySource& source, const std::string& name, const std::string& out, std::chrono::nanoseconds deadline);

}  // namespace floe::cli
