// Where a kernel keeps the state of sched_ext, worked out once per kernel from its BTF and its symbols: no walker looks a name up in a
// loop.
//
// Four generations of it are known, told apart by what exists:
//
//   6.12 .. 6.15   no struct scx_sched: variables scx_ops, scx_exit_kind, scx_exit_info, dsq_hash, global_dsqs
//   6.16 .. 6.19   scx_root points to the scx_sched; global_dsqs[] in it, watchdog timeout and bypass depth beside it; bypass DSQs in
//                  scx_rq (6.19)
//   7.0 ..         per-node and per-CPU parts (scx_sched_pnode, scx_sched_pcpu) hold the global and the bypass DSQs
//   7.1 ..         watchdog timeout, bypass depth and aborting in the scx_sched; a tree of them, one per cgroup
//
// Members are in groups, each whole or absent. A group that the kernel should have and whose members are not where they are known to be is
// `missing`; one of another generation is not.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "walkers/field.hpp"
#include "walkers/kernel.hpp"
#include "walkers/rhashtable.hpp"

namespace floe::walkers::scx {

struct RqGroup {
  Field scx, curr;
  std::optional<Field> lock;
};

struct ScxRqGroup {
  Field local_dsq, runnable_list, nr_running, flags;
  std::optional<Field> cpu_released, ops_qseq, kick_sync, nr_immed, clock, bypass_dsq;
};

struct TaskGroup {
  Field comm, pid, scx;
};

struct EntityGroup {  // struct sched_ext_entity
  Field runnable_node, runnable_at, weight, slice, dsq_vtime, dsq, dsq_list, flags, tasks_node;
  std::optional<Field> ops_state;
};

struct ListNodeGroup {  // struct scx_dsq_list_node
  Field node, flags;
};

struct DsqGroup {  // struct scx_dispatch_q
  Field list, nr, id, hash_node;
  std::optional<Field> seq;
};

struct SchedGroup {
  Field exit_kind, dsq_hash;
  std::optional<Field> ops_name, pcpu, pnode, global_dsqs, event_stats_cpu, aborting, bypass_depth, watchdog_timeout, exit_info;
  // of the tree
  std::optional<Field> all, children, sibling, level, ancestors, cgroup_path;
};

struct ExitInfoGroup {
  Field kind, exit_code, reason, msg;
  std::optional<Field> backtrace, backtrace_length, dump, exit_cpu;
};

// One counter of struct scx_event_stats, and which of EventCounters' it is.
struct EventCounters;
struct EventField {
  Field field;
  std::int64_t EventCounters::* counter;
};

struct Layout {
  // What there is of `kernel`'s. Never fails: a kernel without sched_ext has a layout without anything in it.
  static Layout of(const Kernel& kernel);

  // The kernel is built with sched_ext.
  bool exists() const { return exists_; }
  // It has struct scx_sched and scx_root.
  bool has_sched() const { return scx_root.has_value(); }

  std::optional<RqGroup> rq;
  std::optional<ScxRqGroup> scx_rq;
  std::optional<TaskGroup> task;
  std::optional<EntityGroup> entity;
  std::optional<ListNodeGroup> list_node;
  std::optional<DsqGroup> dsq;
  std::optional<SchedGroup> sched;
  std::optional<Field> pnode_global_dsq;
  std::optional<Field> pcpu_bypass_dsq, pcpu_event_stats;
  std::optional<RhashtableFields> hash;
  std::optional<ExitInfoGroup> exit_info;
  std::vector<EventField> events;
  std::vector<std::string> missing;  // names of groups, as the dump shows them

  // Symbols; absent where the generation has none.
  std::optional<Kva> runqueues, scx_root, scx_tasks, sched_all, jiffies, watchdog_timeout, watchdog_timestamp, enable_state;
  std::optional<Kva> global_ops_name, global_exit_kind, global_exit_info, global_dsq_hash, global_dsqs;
  std::optional<Kva> global_bypass_depth, global_aborting, global_event_stats, node_count;

  // Bits of sched_ext_entity.flags.
  std::uint32_t task_queued = 1;
  std::uint32_t task_reset_runnable_at = 4;
  std::uint32_t task_cursor = 1u << 31;
  std::uint32_t list_cursor = 1;  // of scx_dsq_list_node.flags

  // The values of `enable_state`.
  std::vector<std::pair<std::int64_t, std::string>> enable_states;

 private:
  bool exists_ = false;
};

}  // namespace floe::walkers::scx
