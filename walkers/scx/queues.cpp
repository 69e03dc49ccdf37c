#include "walkers/scx/queues.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "walkers/scx/sched.hpp"

namespace floe::walkers::scx {
namespace {

constexpr std::uint32_t kMaxNodes = 1024;  // MAX_NUMNODES with MAXSMP

// A task on a list by what is on it: tasks come in a list's order, unreadable ones are listed by address alone.
template <class Queue>
void add_task(Walk& walk, Queue& queue, Kva task) {
  if constexpr (requires { queue.task_kvas; }) {
    queue.task_kvas.push_back(task.value);
    if (auto one = walk.queued(task))
      queue.tasks.push_back(std::move(*one));
    else
      queue.problem = fmt::format("the task at {:#x} is not readable", task.value);
  } else {
    queue.runnable_task_kvas.push_back(task.value);
  }
}

class DsqWalk {
 public:
  DsqWalk(Walk& walk, std::vector<DsqState>& to) : walk_(walk), to_(to) {}

  void add(Kva dsq, std::string origin, std::optional<Kva> sched) {
    const auto& fields = *walk_.layout.dsq;
    const auto id = walk_.memory.get_number(dsq, fields.id);
    const auto nr = walk_.memory.get_number(dsq, fields.nr);
    if (!id || !nr) return walk_.problem(fmt::format("the DSQ at {:#x} ({}) is not readable", dsq.value, origin));
    DsqState state;
    state.id = *id;
    state.origin = std::move(origin);
    state.nr = static_cast<std::uint32_t>(*nr);
    if (fields.seq) state.seq = static_cast<std::uint32_t>(walk_.memory.get_number(dsq, *fields.seq).value_or(0));
    state.dsq_kva = dsq.value;
    if (sched) state.sched_kva = sched->value;
    add_tasks(dsq, state);
    to_.push_back(std::move(state));
  }

 private:
  void add_tasks(Kva dsq, DsqState& state) {
    const auto& node = *walk_.layout.list_node;
    const std::uint64_t list_node = std::uint64_t{walk_.layout.task->scx.offset} + walk_.layout.entity->dsq_list.offset;
    const auto visit = [&](Kva link) {
      const Kva entry = link - node.node.offset;
      const auto flags = walk_.memory.get_number(entry, node.flags);
      // A cursor belongs to an iterator that stands there, maybe on a stack; what cannot be told from one is none of the tasks.
      if (!flags)
        state.problem = fmt::format("the flags of the list node at {:#x} are not readable", entry.value);
      else if ((*flags & walk_.layout.list_cursor) == 0)
        add_task(walk_, state, entry - list_node);
      return true;
    };
    const auto walked = walk_list(walk_.memory, dsq + walk_.layout.dsq->list.offset, walk_.budget, visit);
    state.truncated = walked.truncated();
    if (auto problem = walked.problem("its list", walk_.budget)) state.problem = std::move(*problem);
    if (state.problem) walk_.problem(fmt::format("DSQ {:#x} ({}): {}", state.id, state.origin, *state.problem));
  }

  Walk& walk_;
  std::vector<DsqState>& to_;
};

// An array of pointers to per-node structures.
void add_per_node(Walk& walk, DsqWalk& dsqs, Kva array, std::uint64_t dsq_offset, std::optional<Kva> sched) {
  std::uint32_t nodes = 1;
  if (walk.layout.node_count) nodes = std::clamp(walk.memory.get<std::uint32_t>(*walk.layout.node_count).value_or(1), 1u, kMaxNodes);
  for (std::uint32_t node = 0; node < nodes; ++node) {
    const auto one = walk.memory.get<std::uint64_t>(array + std::uint64_t{8} * node);
    if (!one) return walk.problem(fmt::format("the array of global DSQs at {:#x} is not readable", array.value));
    if (*one != 0) dsqs.add(Kva(*one) + dsq_offset, fmt::format("global node {}", node), sched);
  }
}

void add_user(Walk& walk, DsqWalk& dsqs, Kva table, std::optional<Kva> sched) {
  if (!walk.layout.hash) return;
  const auto walked = walk_rhashtable(walk.memory, *walk.layout.hash, table, walk.budget, [&](Kva head) {
    dsqs.add(head - walk.layout.dsq->hash_node.offset, "user", sched);
    return true;
  });
  for (const auto& problem : walked.problems) walk.problem("user DSQs: " + problem);
}

void add_scheduler(Walk& walk, DsqWalk& dsqs, Kva sched) {
  const auto& fields = *walk.layout.sched;
  if (fields.pcpu && walk.layout.pcpu_bypass_dsq)
    if (const auto area = walk.memory.get_pointer(sched, *fields.pcpu))
      for (const auto& cpu : walk.cpus())
        dsqs.add(cpu.of(*area) + walk.layout.pcpu_bypass_dsq->offset, fmt::format("bypass cpu {}", cpu.cpu), sched);
  if (fields.pnode && walk.layout.pnode_global_dsq) {
    if (const auto array = walk.memory.get_pointer(sched, *fields.pnode))
      add_per_node(walk, dsqs, *array, walk.layout.pnode_global_dsq->offset, sched);
  } else if (fields.global_dsqs) {
    if (const auto array = walk.memory.get_pointer(sched, *fields.global_dsqs)) add_per_node(walk, dsqs, *array, 0, sched);
  }
  add_user(walk, dsqs, sched + fields.dsq_hash.offset, sched);
}

}  // namespace

std::vector<RqState> rq_states(Walk& walk) {
  std::vector<RqState> states;
  const Layout& layout = walk.layout;
  if (!layout.rq || !layout.scx_rq || !layout.entity || !layout.task || !layout.runqueues) return states;
  const std::uint64_t node = std::uint64_t{layout.task->scx.offset} + layout.entity->runnable_node.offset;
  for (const auto& cpu : walk.cpus()) {
    const Kva rq = cpu.of(*layout.runqueues);
    const Kva scx = rq + layout.rq->scx.offset;
    const auto number = [&](const std::optional<Field>& field) {
      return field ? walk.memory.get_number(scx, *field) : std::optional<std::uint64_t>();
    };
    const auto running = number(layout.scx_rq->nr_running);
    const auto flags = number(layout.scx_rq->flags);
    if (!running || !flags) {
      walk.problem(fmt::format("the run queue of CPU {} is not readable", cpu.cpu));
      continue;
    }
    RqState state;
    state.cpu = cpu.cpu;
    state.nr_running = static_cast<std::uint32_t>(*running);
    state.flags = static_cast<std::uint32_t>(*flags);
    state.cpu_released = number(layout.scx_rq->cpu_released).value_or(0) != 0;
    state.ops_qseq = number(layout.scx_rq->ops_qseq);
    state.kick_sync = number(layout.scx_rq->kick_sync);
    if (const auto immed = number(layout.scx_rq->nr_immed)) state.nr_immed = static_cast<std::uint32_t>(*immed);
    state.rq_clock = number(layout.scx_rq->clock);
    if (const auto curr = walk.memory.get_pointer(rq, layout.rq->curr)) {
      if (const auto pid = walk.memory.get_number(*curr, layout.task->pid)) state.curr_pid = static_cast<std::int32_t>(*pid);
      state.curr_comm = walk.memory.get_string(*curr, layout.task->comm);
    }
    // The low byte of a queued spinlock is "locked".
    if (layout.rq->lock) state.lock_held = walk.memory.get<std::uint8_t>(rq + layout.rq->lock->offset).value_or(0) != 0;
    const auto visit = [&](Kva link) {
      add_task(walk, state, link - node);
      return true;
    };
    const auto walked = walk_list(walk.memory, scx + layout.scx_rq->runnable_list.offset, walk.budget, visit);
    state.runnable_truncated = walked.truncated();
    state.problem = walked.problem("runnable_list", walk.budget);
    if (state.problem) walk.problem(fmt::format("CPU {}: {}", cpu.cpu, *state.problem));
    states.push_back(std::move(state));
  }
  return states;
}

std::vector<DsqState> dsq_states(Walk& walk) {
  std::vector<DsqState> states;
  const Layout& layout = walk.layout;
  if (!layout.dsq || !layout.list_node || !layout.entity || !layout.task) return states;
  DsqWalk dsqs(walk, states);
  if (layout.rq && layout.scx_rq && layout.runqueues)
    for (const auto& cpu : walk.cpus()) {
      const Kva scx = cpu.of(*layout.runqueues) + layout.rq->scx.offset;
      dsqs.add(scx + layout.scx_rq->local_dsq.offset, fmt::format("local cpu {}", cpu.cpu), std::nullopt);
      if (layout.scx_rq->bypass_dsq) dsqs.add(scx + layout.scx_rq->bypass_dsq->offset, fmt::format("bypass cpu {}", cpu.cpu), std::nullopt);
    }
  if (layout.scx_root) {
    if (layout.sched)
      for (const auto& sched : sched_tree(walk)) add_scheduler(walk, dsqs, Kva(sched.sched_kva));
    return states;
  }
  // Without scx_sched: the variables outlive the scheduler, so they are read only while there is one.
  if (!sched_state(walk)) return states;
  if (layout.global_dsqs)
    if (const auto array = walk.memory.get<std::uint64_t>(*layout.global_dsqs); array && *array != 0)
      add_per_node(walk, dsqs, Kva(*array), 0, std::nullopt);
  if (layout.global_dsq_hash) add_user(walk, dsqs, *layout.global_dsq_hash, std::nullopt);
  return states;
}

std::vector<Kva> known_tasks(Walk& walk) {
  std::vector<Kva> tasks;
  const Layout& layout = walk.layout;
  if (!layout.scx_tasks || !layout.task || !layout.entity) return tasks;
  const auto visit = [&](Kva link) {
    const Kva entity = link - layout.entity->tasks_node.offset;
    const auto flags = walk.memory.get_number(entity, layout.entity->flags);
    if (flags && (*flags & layout.task_cursor) == 0) tasks.push_back(entity - layout.task->scx.offset);
    return true;
  };
  const auto walked = walk_list(walk.memory, *layout.scx_tasks, walk.budget, visit);
  if (auto problem = walked.problem("scx_tasks", walk.budget)) walk.problem(std::move(*problem));
  return tasks;
}

std::optional<std::uint64_t> dsq_of(Walk& walk, Kva task) {
  const Layout& layout = walk.layout;
  if (!layout.task || !layout.entity || !layout.dsq) return std::nullopt;
  const auto dsq = walk.memory.get_pointer(task + layout.task->scx.offset, layout.entity->dsq);
  return dsq ? walk.memory.get_number(*dsq, layout.dsq->id) : std::nullopt;
}

}  // namespace floe::walkers::scx
