// The attached scheduler at a glance: whether there is one, whether it is being thrown out and why, and how long a task may wait.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/scx/records.hpp"
#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

// Nothing when no scheduler is attached. In kernels without scx_root, while the enable state is "disabled".
std::optional<SchedState> sched_state(Walk& walk);

// The exit info that the kernel fills in as it throws a scheduler out; it is there until the scheduler's last reference goes, about 0.1 s.
// Nothing while there is nothing in it.
std::optional<ExitInfo> exit_info(Walk& walk);

// Every scheduler of the tree, parents before their children; the root alone in kernels without sub-schedulers.
std::vector<SchedNode> sched_tree(Walk& walk);

// enum scx_exit_kind: "none", "done", "unregistered", ..., "stall"; "kind N" for one that is not known.
std::string exit_kind_name(std::uint32_t kind);
// The kind of that name, which is what the kernel gives as an exit's reason.
std::optional<std::uint32_t> exit_kind_of(std::string_view name);
// SCX_EXIT_ERROR and above: the kernel threw the scheduler out. Everything below is an orderly end.
inline bool is_error(std::uint32_t exit_kind) {
  return exit_kind >= 1024;
}
inline bool is_stall(std::uint32_t exit_kind) {
  return exit_kind == 1026;
}

}  // namespace floe::walkers::scx
