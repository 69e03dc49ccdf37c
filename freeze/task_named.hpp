// The task of a name in the running guest, as kernel operations mean tasks: by its number and start time.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "freeze/snapshot_memory.hpp"
#include "vmm/requests.hpp"
#include "walkers/kernel.hpp"

namespace floe::freeze {

// Of several of that name (task_struct.comm) the one with the lowest number. The target has no field yet. `tables`: a Kernel of this guest,
// of any instant of this boot. Error: there is none, or the process list cannot be read.
Result<vmm::wire::TaskTarget> task_named(std::string_view name, const walkers::Kernel& tables, const LiveMemory& live);

}  // namespace floe::freeze
