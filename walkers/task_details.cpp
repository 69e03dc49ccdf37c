#include "walkers/task_details.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "walkers/address_set.hpp"
#include "walkers/lock_slowpaths.hpp"
#include "walkers/scx/queues.hpp"
#include "walkers/struct_block.hpp"

namespace floe::walkers {
namespace {

constexpr std::size_t kMaxProblems = 32;
constexpr std::uint64_t kMaxPidLevel = 32;  // MAX_PID_NS_LEVEL
constexpr std::size_t kAhead = 4;           // tasks

// Members of task_struct; those of sched_ext_entity as they lie in it.
struct TaskFields {
  Field pid, tgid, comm, state, exit_state, prio, static_prio, normal_prio, rt_priority, sched_class, real_parent, group_leader, signal;
  Field nvcsw, nivcsw, utime, stime;
  std::optional<Field> core_cookie, sum_exec_runtime, policy, thread_pid;
  std::optional<Field> weight, flags, dsq, ops_state, slice, dsq_vtime, runnable_at;
};

struct SignalFields {
  std::optional<Field> nr_threads, pgid, sid, nvcsw, nivcsw, utime, stime;
  std::optional<Field> pid_number;  // pid.numbers[0].nr: in the initial namespace
};

// struct pid of a task, with a number per namespace.
struct PidFields {
  std::optional<Field> level, number;  // numbers[0].nr
  std::uint64_t stride = 0;
};

template <class Each>
void each_field(TaskFields& fields, const Each& each) {
  for (Field* field : {&fields.pid, &fields.tgid, &fields.comm, &fields.state, &fields.exit_state, &fields.prio, &fields.static_prio,
                       &fields.normal_prio, &fields.rt_priority, &fields.sched_class, &fields.real_parent, &fields.group_leader,
                       &fields.signal, &fields.nvcsw, &fields.nivcsw, &fields.utime, &fields.stime})
    each(*field);
  for (std::optional<Field>* field : {&fields.core_cookie, &fields.sum_exec_runtime, &fields.policy, &fields.thread_pid, &fields.weight,
                                      &fields.flags, &fields.dsq, &fields.ops_state, &fields.slice, &fields.dsq_vtime, &fields.runnable_at})
    if (*field) each(**field);
}

Result<TaskFields> task_fields(const Types& types, const scx::Layout& layout) {
  TaskFields fields{};
  const auto filled = types.fill({{"task_struct.pid", &fields.pid},
                                  {"task_struct.tgid", &fields.tgid},
                                  {"task_struct.comm", &fields.comm},
                                  {"task_struct.exit_state", &fields.exit_state},
                                  {"task_struct.prio", &fields.prio},
                                  {"task_struct.static_prio", &fields.static_prio},
                                  {"task_struct.normal_prio", &fields.normal_prio},
                                  {"task_struct.rt_priority", &fields.rt_priority},
                                  {"task_struct.sched_class", &fields.sched_class},
                                  {"task_struct.real_parent", &fields.real_parent},
                                  {"task_struct.group_leader", &fields.group_leader},
                                  {"task_struct.signal", &fields.signal},
                                  {"task_struct.nvcsw", &fields.nvcsw},
                                  {"task_struct.nivcsw", &fields.nivcsw},
                                  {"task_struct.utime", &fields.utime},
                                  {"task_struct.stime", &fields.stime}});
  if (!filled) return fail(filled.error());
  const auto state = types.field("task_struct.__state");
  const auto any_state = state ? state : types.field("task_struct.state");
  if (!any_state) return fail(any_state.error());
  fields.state = *any_state;

  fields.core_cookie = types.maybe_field("task_struct.core_cookie");
  fields.sum_exec_runtime = types.maybe_field("task_struct.se.sum_exec_runtime");
  fields.policy = types.maybe_field("task_struct.policy");
  fields.thread_pid = types.maybe_field("task_struct.thread_pid");
  if (!layout.task || !layout.entity) return fields;
  const auto within = [&](const Field& member) { return Field{layout.task->scx.offset + member.offset, member.bytes}; };
  fields.weight = within(layout.entity->weight);
  fields.flags = within(layout.entity->flags);
  fields.dsq = within(layout.entity->dsq);
  fields.slice = within(layout.entity->slice);
  fields.dsq_vtime = within(layout.entity->dsq_vtime);
  fields.runnable_at = within(layout.entity->runnable_at);
  if (layout.entity->ops_state) fields.ops_state = within(*layout.entity->ops_state);
  return fields;
}

SignalFields signal_fields(const Types& types) {
  const auto pid_of_type = [&](const char* type, std::int64_t usual) {
    return types.maybe_field(fmt::format("signal_struct.pids[{}]", types.enumerator("pid_type", type).value_or(usual)));
  };
  return {.nr_threads = types.maybe_field("signal_struct.nr_threads"),
          .pgid = pid_of_type("PIDTYPE_PGID", 2),
          .sid = pid_of_type("PIDTYPE_SID", 3),
          .nvcsw = types.maybe_field("signal_struct.nvcsw"),
          .nivcsw = types.maybe_field("signal_struct.nivcsw"),
          .utime = types.maybe_field("signal_struct.utime"),
          .stime = types.maybe_field("signal_struct.stime"),
          .pid_number = types.maybe_field("pid.numbers[0].nr")};
}

PidFields pid_fields(const Types& types) {
  return {
      .level = types.maybe_field("pid.level"), .number = types.maybe_field("pid.numbers[0].nr"), .stride = types.size("upid").value_or(0)};
}

StructBlock block_of(TaskFields fields) {
  std::vector<Field> list;
  each_field(fields, [&](const Field& field) { list.push_back(field); });
  return StructBlock(list);
}

StructBlock block_of(const SignalFields& fields) {
  std::vector<Field> list;
  for (const auto& field : {fields.nr_threads, fields.pgid, fields.sid, fields.nvcsw, fields.nivcsw, fields.utime, fields.stime})
    if (field) list.push_back(*field);
  return StructBlock(list);
}

// struct sched_class of each kind; the symbols are where they are in this boot, KASLR included.
struct Classes {
  std::array<std::pair<std::string_view, std::optional<Kva>>, 6> known = {
      {{"fair", {}}, {"rt", {}}, {"dl", {}}, {"idle", {}}, {"stop", {}}, {"ext", {}}}};

  explicit Classes(const Symbols& symbols) {
    for (auto& [name, address] : known) address = symbols.find(fmt::format("{}_sched_class", name));
  }
  std::optional<std::string> name(std::uint64_t pointer) const {
    for (const auto& [name, address] : known)
      if (address && address->value == pointer) return std::string(name);
    return std::nullopt;
  }
  std::optional<Kva> ext() const { return known[5].second; }
};

class DetailWalk {
 public:
  DetailWalk(const Kernel& kernel, const TaskTable& table, const scx::Layout& layout, TaskFields fields, WalkBudget& budget)
      : memory_(kernel.memory()),
        table_(table),
        scx_(kernel, layout, budget),
        fields_(fields),
        signal_fields_(signal_fields(kernel.types())),
        pid_fields_(pid_fields(kernel.types())),
        task_(block_of(fields)),
        signal_(block_of(signal_fields_)),
        classes_(kernel.symbols()),
        budget_(budget) {
    index_.reserve(table.tasks.size());
    for (const auto* list : {&table.tasks, &table.idle})
      for (const Task& task : *list) index_.emplace(task.address.value, &task);
  }

  TaskDetailsTable run(const Kernel& kernel, std::span<const RunningAt> running) {
    find_waits(kernel, running);
    result_.tasks.reserve(table_.tasks.size());
    // What will be read of the tasks to come is fetched ahead: their own members, and when these have come, what they point to.
    const auto& tasks = table_.tasks;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (!budget_.step()) return stop();
      if (i + 2 * kAhead < tasks.size()) task_.prefetch(memory_, tasks[i + 2 * kAhead].address);
      if (i + kAhead < tasks.size()) prefetch_pointees(tasks[i + kAhead].address, tasks[i + kAhead].leads());
      add(tasks[i].address, &tasks[i]);
    }
    for (const Kva task : scx::known_tasks(scx_)) {
      if (!budget_.step()) return stop();
      if (!index_.contains(task.value)) add(task, nullptr);
    }
    return finish();
  }

 private:
  void problem(std::string text) {
    ++result_.problem_count;
    if (result_.problems.size() < kMaxProblems) result_.problems.push_back(std::move(text));
  }

  // Its struct pid; and its signal_struct, which a leader shares with the threads behind it.
  void prefetch_pointees(Kva task, bool leads) const {
    const auto& pid_at = fields_.thread_pid;
    if (pid_at && pid_fields_.number && memory_.prefetch(task + pid_at->offset, sizeof(std::uint64_t)))
      if (const auto pid = memory_.get_pointer(task, *pid_at))
        memory_.prefetch(*pid, pid_fields_.number->offset + pid_fields_.number->bytes);
    if (leads && memory_.prefetch(task + fields_.signal.offset, sizeof(std::uint64_t)))
      if (const auto signal = memory_.get_pointer(task, fields_.signal)) signal_.prefetch(memory_, *signal);
  }

  TaskDetailsTable stop() {
    problem(fmt::format("stopped after {} tasks: {}", result_.tasks.size(), budget_.reason()));
    return finish();
  }

  TaskDetailsTable finish() {
    for (auto& text : scx_.problems) problem(std::move(text));
    return std::move(result_);
  }

  // Which tasks wait on a runnable list, and which are in a lock's slow path right now.
  void find_waits(const Kernel& kernel, std::span<const RunningAt> running) {
    for (const auto& rq : scx::rq_states(scx_))
      for (const std::uint64_t task : rq.runnable_task_kvas) runnable_.insert(task);
    const auto curr = kernel.types().field("rq.curr");
    if (!curr || running.empty()) return;
    const LockSlowpaths slowpaths(kernel.symbols());
    for (const auto& [cpu, ip] : running) {
      const auto name = slowpaths.match(ip);
      const auto rq = name.empty() ? fail("") : kernel.per_cpu("runqueues", cpu);
      if (!rq) continue;
      if (const auto task = memory_.get_pointer(*rq, *curr)) slow_.emplace(task->value, name);
    }
  }

  void add(Kva address, const Task* known) {
    task_.load(memory_, address);
    const auto pid = task_.as<std::int32_t>(fields_.pid);
    const auto tgid = task_.as<std::int32_t>(fields_.tgid);
    if (!pid || !tgid) return problem(fmt::format("the task at {:#x} is not readable", address.value));
    TaskDetails details;
    details.pid = *pid;
    details.tgid = *tgid;
    details.task_kva = address.value;
    if (known != nullptr) {
      details.comm = known->comm;
      details.state = std::string(1, known->state);
      details.cpu = known->cpu;
    } else {
      details.comm = task_.text(fields_.comm).value_or("");
      const auto state = task_.as<std::uint32_t>(fields_.state);
      const auto exit_state = task_.as<std::uint32_t>(fields_.exit_state);
      if (state && exit_state) details.state = std::string(1, task_state_letter(*state, *exit_state));
    }
    add_family(details);
    add_scheduling(details);
    add_signal(details);
    add_namespaces(details);
    add_scx(details);
    if (const auto slow = slow_.find(address.value); slow != slow_.end()) details.lock_slowpath_match = std::string(slow->second);
    result_.tasks.push_back(std::move(details));
  }

  void add_family(TaskDetails& details) {
    if (const auto leader = task_.pointer(fields_.group_leader)) {
      const auto found = index_.find(leader->value);
      if (found != index_.end())
        details.group_leader_pid = found->second->pid;
      else if (const auto pid = memory_.get_number(*leader, fields_.pid))
        details.group_leader_pid = static_cast<std::int32_t>(*pid);
    }
    const auto parent = task_.pointer(fields_.real_parent);
    if (!parent) return;
    const auto found = index_.find(parent->value);
    if (found != index_.end()) {
      details.real_parent_pid = found->second->tgid;
      details.real_parent_comm = found->second->comm;
      return;
    }
    if (const auto pid = memory_.get_number(*parent, fields_.tgid)) details.real_parent_pid = static_cast<std::int32_t>(*pid);
    details.real_parent_comm = memory_.get_string(*parent, fields_.comm);
  }

  void add_scheduling(TaskDetails& details) {
    const auto number = [&](Field field) { return task_.number(field).value_or(0); };
    details.prio = static_cast<std::int32_t>(number(fields_.prio));
    details.static_prio = static_cast<std::int32_t>(number(fields_.static_prio));
    details.normal_prio = static_cast<std::int32_t>(number(fields_.normal_prio));
    details.rt_priority = static_cast<std::uint32_t>(number(fields_.rt_priority));
    details.nvcsw = number(fields_.nvcsw);
    details.nivcsw = number(fields_.nivcsw);
    details.utime = number(fields_.utime);
    details.stime = number(fields_.stime);
    details.core_cookie = task_.as<std::uint64_t>(fields_.core_cookie);
    details.sum_exec_runtime = task_.as<std::uint64_t>(fields_.sum_exec_runtime);
    details.policy = task_.as<std::uint32_t>(fields_.policy);
    const auto pointer = task_.number(fields_.sched_class);
    if (!pointer) return;
    details.sched_class = classes_.name(*pointer);
    details.pi_boosted_out_of_scx = classes_.ext() && *pointer != classes_.ext()->value && runnable_.contains(details.task_kva);
  }

  void add_signal(TaskDetails& details) {
    const auto signal = task_.pointer(fields_.signal);
    if (!signal) return;
    // The threads of a process follow one another and share it.
    if (*signal != signal_at_) {
      signal_.load(memory_, *signal);
      signal_at_ = *signal;
      pgid_ = number_of(signal_fields_.pgid);
      sid_ = number_of(signal_fields_.sid);
    }
    details.pgid = pgid_;
    details.sid = sid_;
    details.nr_threads = signal_.as<std::uint32_t>(signal_fields_.nr_threads);
    details.signal_nvcsw = signal_.as<std::uint64_t>(signal_fields_.nvcsw);
    details.signal_nivcsw = signal_.as<std::uint64_t>(signal_fields_.nivcsw);
    details.signal_utime = signal_.as<std::uint64_t>(signal_fields_.utime);
    details.signal_stime = signal_.as<std::uint64_t>(signal_fields_.stime);
  }

  // The number of a struct pid that signal_struct points to.
  std::optional<std::int32_t> number_of(const std::optional<Field>& member) const {
    if (!member || !signal_fields_.pid_number) return std::nullopt;
    const auto pid = signal_.pointer(*member);
    const auto number = pid ? memory_.get_number(*pid, *signal_fields_.pid_number) : std::nullopt;
    return number ? std::optional(static_cast<std::int32_t>(*number)) : std::nullopt;
  }

  // thread_pid is null once the task is unhashed.
  void add_namespaces(TaskDetails& details) {
    if (!fields_.thread_pid || !pid_fields_.level || !pid_fields_.number || pid_fields_.stride == 0) return;
    const auto pid = task_.pointer(*fields_.thread_pid);
    const auto level = pid ? memory_.get_number(*pid, *pid_fields_.level) : std::nullopt;
    for (std::uint64_t depth = 1; level && depth <= std::min(*level, kMaxPidLevel); ++depth) {
      const auto number = memory_.get_number(*pid + depth * pid_fields_.stride, *pid_fields_.number);
      if (!number) return problem(fmt::format("the numbers of pid {} at {:#x} are not readable", details.pid, pid->value));
      details.ns_pids.push_back(static_cast<std::int32_t>(*number));
    }
  }

  void add_scx(TaskDetails& details) {
    details.weight = task_.as<std::uint32_t>(fields_.weight).value_or(0);
    details.scx_flags = task_.as<std::uint64_t>(fields_.flags);
    details.scx_ops_state = task_.as<std::uint64_t>(fields_.ops_state);
    details.scx_slice = task_.as<std::uint64_t>(fields_.slice);
    details.scx_dsq_vtime = task_.as<std::uint64_t>(fields_.dsq_vtime);
    details.runnable_at = task_.as<std::uint64_t>(fields_.runnable_at);
    if (details.scx_flags && details.runnable_at)
      details.runnable_age_jiffies = scx_.runnable_age(*details.scx_flags, *details.runnable_at);
    if (!fields_.dsq || !scx_.layout.dsq) return;
    if (const auto dsq = task_.pointer(*fields_.dsq)) details.scx_dsq_id = memory_.get_number(*dsq, scx_.layout.dsq->id);
  }

  const KernelMemory& memory_;
  const TaskTable& table_;
  scx::Walk scx_;
  TaskFields fields_;
  SignalFields signal_fields_;
  PidFields pid_fields_;
  StructBlock task_;
  StructBlock signal_;
  Kva signal_at_;
  std::optional<std::int32_t> pgid_, sid_;
  Classes classes_;
  WalkBudget& budget_;
  std::unordered_map<std::uint64_t, const Task*, SeededHash> index_{64, SeededHash{random_seed()}};
  AddressSet runnable_;
  std::unordered_map<std::uint64_t, std::string_view, SeededHash> slow_{8, SeededHash{random_seed()}};
  TaskDetailsTable result_;
};

}  // namespace

Result<TaskDetailsTable> task_details(const Kernel& kernel, const TaskTable& table, const scx::Layout& layout,
                                      std::span<const RunningAt> running, WalkBudget& budget) {
  const auto fields = task_fields(kernel.types(), layout);
  if (!fields) return fail(fields.error());
  return DetailWalk(kernel, table, layout, *fields, budget).run(kernel, running);
}

}  // namespace floe::walkers
