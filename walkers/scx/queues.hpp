// Who waits where: each CPU's runnable list, and every dispatch queue.
#pragma once

#include <vector>

#include "walkers/scx/records.hpp"
#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

// rq.scx of each CPU, with the tasks on its runnable_list: all that are runnable there and do not run, on a DSQ or not.
std::vector<RqState> rq_states(Walk& walk);

// Local DSQs of each CPU, then bypass, global and user ones of every scheduler in the tree. Tasks are in the order in which they will be
// taken: a DSQ ordered by vtime has its tasks on the list in that order too. Iterators' cursors on a list are no tasks.
std::vector<DsqState> dsq_states(Walk& walk);

// Every task that sched_ext knows (scx_tasks), be it runnable or not, in the kernel's order.
std::vector<Kva> known_tasks(Walk& walk);

// The id of the DSQ a task sits on. Nothing when it sits on none.
std::optional<std::uint64_t> dsq_of(Walk& walk, Kva task);

}  // namespace floe::walkers::scx
