#include "walkers/scx/layout.hpp"

#include <array>
#include <utility>

#include "walkers/scx/records.hpp"

namespace floe::walkers::scx {
namespace {

// Resolves members of one struct; remembers whether one that was needed is not there.
class Resolver {
 public:
  Resolver(const Types& types, std::string structure) : types_(types), structure_(std::move(structure)) {}

  Field need(std::string_view member) {
    const auto found = types_.field(structure_ + "." + std::string(member));
    if (!found) complete_ = false;
    return found ? *found : Field{};
  }
  std::optional<Field> have(std::string_view member) const {
    const auto found = types_.field(structure_ + "." + std::string(member));
    return found ? std::optional(*found) : std::nullopt;
  }
  // The first of several names.
  std::optional<Field> have(std::string_view member, std::string_view older) const {
    const auto found = have(member);
    return found ? found : have(older);
  }
  bool complete() const { return complete_; }

 private:
  const Types& types_;
  std::string structure_;
  bool complete_ = true;
};

template <class Group>
std::optional<Group> whole(Group group, const Resolver& resolver) {
  return resolver.complete() ? std::optional(std::move(group)) : std::nullopt;
}

std::optional<RqGroup> rq_group(const Types& types) {
  Resolver rq(types, "rq");
  return whole(RqGroup{rq.need("scx"), rq.need("curr"), rq.have("__lock", "lock")}, rq);
}

std::optional<ScxRqGroup> scx_rq_group(const Types& types) {
  Resolver rq(types, "scx_rq");
  return whole(
      ScxRqGroup{
          .local_dsq = rq.need("local_dsq"),
          .runnable_list = rq.need("runnable_list"),
          .nr_running = rq.need("nr_running"),
          .flags = rq.need("flags"),
          .cpu_released = rq.have("cpu_released"),
          .ops_qseq = rq.have("ops_qseq"),
          .kick_sync = rq.have("kick_sync", "pnt_seq"),
          .nr_immed = rq.have("nr_immed"),
          .clock = rq.have("clock"),
          .bypass_dsq = rq.have("bypass_dsq"),
      },
      rq);
}

std::optional<TaskGroup> task_group(const Types& types) {
  Resolver task(types, "task_struct");
  return whole(TaskGroup{task.need("comm"), task.need("pid"), task.need("scx")}, task);
}

std::optional<EntityGroup> entity_group(const Types& types) {
  Resolver entity(types, "sched_ext_entity");
  return whole(
      EntityGroup{
          .runnable_node = entity.need("runnable_node"),
          .runnable_at = entity.need("runnable_at"),
          .weight = entity.need("weight"),
          .slice = entity.need("slice"),
          .dsq_vtime = entity.need("dsq_vtime"),
          .dsq = entity.need("dsq"),
          .dsq_list = entity.need("dsq_list"),
          .flags = entity.need("flags"),
          .tasks_node = entity.need("tasks_node"),
          .ops_state = entity.have("ops_state"),
      },
      entity);
}

std::optional<ListNodeGroup> list_node_group(const Types& types) {
  Resolver node(types, "scx_dsq_list_node");
  return whole(ListNodeGroup{node.need("node"), node.need("flags")}, node);
}

std::optional<DsqGroup> dsq_group(const Types& types) {
  Resolver dsq(types, "scx_dispatch_q");
  return whole(DsqGroup{dsq.need("list"), dsq.need("nr"), dsq.need("id"), dsq.need("hash_node"), dsq.have("seq")}, dsq);
}

std::optional<SchedGroup> sched_group(const Types& types) {
  Resolver sched(types, "scx_sched");
  return whole(
      SchedGroup{
          .exit_kind = sched.need("exit_kind"),
          .dsq_hash = sched.need("dsq_hash"),
          .ops_name = sched.have("ops.name"),
          .pcpu = sched.have("pcpu"),
          .pnode = sched.have("pnode"),
          .global_dsqs = sched.have("global_dsqs"),
          .event_stats_cpu = sched.have("event_stats_cpu"),
          .aborting = sched.have("aborting"),
          .bypass_depth = sched.have("bypass_depth"),
          .watchdog_timeout = sched.have("watchdog_timeout"),
          .exit_info = sched.have("exit_info"),
          .all = sched.have("all"),
          .children = sched.have("children"),
          .sibling = sched.have("sibling"),
          .level = sched.have("level"),
          .ancestors = sched.have("ancestors"),
          .cgroup_path = sched.have("cgrp_path"),
      },
      sched);
}

std::optional<RhashtableFields> hash_group(const Types& types) {
  const auto fields = RhashtableFields::resolve(types);
  return fields ? std::optional(*fields) : std::nullopt;
}

std::optional<ExitInfoGroup> exit_info_group(const Types& types) {
  Resolver info(types, "scx_exit_info");
  return whole(
      ExitInfoGroup{
          .kind = info.need("kind"),
          .exit_code = info.need("exit_code"),
          .reason = info.need("reason"),
          .msg = info.need("msg"),
          .backtrace = info.have("bt"),
          .backtrace_length = info.have("bt_len"),
          .dump = info.have("dump"),
          .exit_cpu = info.have("exit_cpu"),
      },
      info);
}

std::vector<EventField> event_fields(const Types& types) {
  Resolver stats(types, "scx_event_stats");
  const std::array<std::pair<std::string_view, std::int64_t EventCounters::*>, 14> names = {{
      {"SCX_EV_SELECT_CPU_FALLBACK", &EventCounters::select_cpu_fallback},
      {"SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE", &EventCounters::dispatch_local_dsq_offline},
      {"SCX_EV_DISPATCH_KEEP_LAST", &EventCounters::dispatch_keep_last},
      {"SCX_EV_ENQ_SKIP_EXITING", &EventCounters::enq_skip_exiting},
      {"SCX_EV_ENQ_SKIP_MIGRATION_DISABLED", &EventCounters::enq_skip_migration_disabled},
      {"SCX_EV_REENQ_IMMED", &EventCounters::reenq_immed},
      {"SCX_EV_REENQ_LOCAL_REPEAT", &EventCounters::reenq_local_repeat},
      {"SCX_EV_REFILL_SLICE_DFL", &EventCounters::refill_slice_dfl},
      {"SCX_EV_ENQ_SLICE_DFL", &EventCounters::refill_slice_dfl},  // its former name
      {"SCX_EV_BYPASS_DURATION", &EventCounters::bypass_duration},
      {"SCX_EV_BYPASS_DISPATCH", &EventCounters::bypass_dispatch},
      {"SCX_EV_BYPASS_ACTIVATE", &EventCounters::bypass_activate},
      {"SCX_EV_INSERT_NOT_OWNED", &EventCounters::insert_not_owned},
      {"SCX_EV_SUB_BYPASS_DISPATCH", &EventCounters::sub_bypass_dispatch},
  }};
  std::vector<EventField> fields;
  for (const auto& [name, counter] : names)
    if (const auto field = stats.have(name)) fields.push_back({*field, counter});
  return fields;
}

// enum scx_enable_state, or scx_ops_enable_state before 6.18: "SCX_ENABLED" is shown as "enabled", as the kernel does in sysfs.
std::vector<std::pair<std::int64_t, std::string>> names_of_enable_states(const Types& types) {
  std::vector<std::pair<std::int64_t, std::string>> states;
  for (const std::string_view name : {"prepping", "enabling", "enabled", "disabling", "disabled"}) {
    std::string upper;
    for (const char c : name) upper += static_cast<char>(c - 'a' + 'A');
    const auto newer = types.enumerator("scx_enable_state", "SCX_" + upper);
    const auto value = newer ? newer : types.enumerator("scx_ops_enable_state", "SCX_OPS_" + upper);
    if (value) states.emplace_back(*value, name);
  }
  return states;
}

}  // namespace

Layout Layout::of(const Kernel& kernel) {
  const Types& types = kernel.types();
  const Symbols& symbols = kernel.symbols();
  Layout layout;
  layout.exists_ = types.has("task_struct.scx") || types.find("sched_ext_entity") || symbols.find("scx_tasks");
  if (!layout.exists_) return layout;

  const auto take = [&](auto& group, auto found, const char* name) {
    group = std::move(found);
    if (!group) layout.missing.emplace_back(name);
  };
  layout.scx_root = symbols.find("scx_root");
  take(layout.rq, rq_group(types), "rq");
  take(layout.scx_rq, scx_rq_group(types), "scx_rq");
  take(layout.task, task_group(types), "task_struct");
  take(layout.entity, entity_group(types), "sched_ext_entity");
  take(layout.list_node, list_node_group(types), "scx_dsq_list_node");
  take(layout.dsq, dsq_group(types), "scx_dispatch_q");
  if (layout.scx_root || types.find("scx_sched")) take(layout.sched, sched_group(types), "scx_sched");
  const auto member = [&](const char* path) {
    const auto found = types.field(path);
    return found ? std::optional(*found) : std::nullopt;
  };
  if (types.has("scx_sched.pnode")) take(layout.pnode_global_dsq, member("scx_sched_pnode.global_dsq"), "scx_sched_pnode");
  if (types.has("scx_sched.pcpu")) {
    layout.pcpu_bypass_dsq = member("scx_sched_pcpu.bypass_dsq");  // since 7.0 only
    take(layout.pcpu_event_stats, member("scx_sched_pcpu.event_stats"), "scx_sched_pcpu");
  }
  take(layout.hash, hash_group(types), "rhashtable/bucket_table/rhash_head");
  layout.exit_info = exit_info_group(types);
  layout.events = event_fields(types);

  layout.runqueues = symbols.find("runqueues");
  layout.scx_tasks = symbols.find("scx_tasks");
  layout.sched_all = symbols.find("scx_sched_all");
  layout.jiffies = symbols.find("jiffies_64");
  layout.watchdog_timeout = symbols.find("scx_watchdog_timeout");
  layout.watchdog_timestamp = symbols.find("scx_watchdog_timestamp");
  layout.node_count = symbols.find("nr_node_ids");
  const auto either = [&](const char* name, const char* older) {
    const auto found = symbols.find(name);
    return found ? found : symbols.find(older);
  };
  layout.enable_state = either("scx_enable_state_var", "scx_ops_enable_state_var");
  layout.enable_states = names_of_enable_states(types);
  layout.global_bypass_depth = either("scx_bypass_depth", "scx_ops_bypass_depth");
  layout.global_aborting = symbols.find("scx_aborting");
  if (!layout.scx_root) {
    const auto ops = symbols.find("scx_ops");
    const auto name = member("sched_ext_ops.name");
    if (ops && name) layout.global_ops_name = *ops + name->offset;
    layout.global_exit_kind = symbols.find("scx_exit_kind");
    layout.global_exit_info = symbols.find("scx_exit_info");
    layout.global_dsq_hash = symbols.find("dsq_hash");
    layout.global_dsqs = symbols.find("global_dsqs");
    layout.global_event_stats = symbols.find("event_stats_cpu");
  }

  const auto bit = [&](std::uint32_t& value, const char* enumeration, const char* name) {
    if (const auto found = types.enumerator(enumeration, name)) value = static_cast<std::uint32_t>(*found);
  };
  bit(layout.task_queued, "scx_ent_flags", "SCX_TASK_QUEUED");
  bit(layout.task_reset_runnable_at, "scx_ent_flags", "SCX_TASK_RESET_RUNNABLE_AT");
  bit(layout.task_cursor, "scx_ent_flags", "SCX_TASK_CURSOR");
  bit(layout.list_cursor, "scx_dsq_lnode_flags", "SCX_DSQ_LNODE_ITER_CURSOR");
  return layout;
}

}  // namespace floe::walkers::scx
