#include "walkers/tasks.hpp"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "walkers/address_set.hpp"
#include "walkers/struct_block.hpp"
#include "walkers/task_names.hpp"

namespace floe::walkers {
namespace {

// include/linux/sched.h, unchanged through 6.1 .. 7.2. They are macros, so BTF does not have them.
constexpr std::uint32_t kTaskReport = 0x7f;  // running .. parked, with EXIT_DEAD 0x10 and EXIT_ZOMBIE 0x20
constexpr std::uint32_t kTaskReportIdle = kTaskReport + 1;
constexpr std::uint32_t kTaskUninterruptible = 0x2;
constexpr std::uint32_t kTaskIdle = 0x2 | 0x400;  // TASK_UNINTERRUPTIBLE | TASK_NOLOAD
constexpr std::uint32_t kTaskRtlockWait = 0x1000;
constexpr std::uint32_t kTaskFrozen = 0x8000;
constexpr std::uint32_t kPfKthread = 0x00200000;

struct Fields {
  Field tasks, pid, tgid, comm, flags, state, exit_state, real_parent;
  std::optional<Field> on_cpu, cpu;
  // Either the list of threads in signal_struct, or the ring of them through task_struct.thread_group (gone with 6.7).
  std::optional<Field> signal, thread_head, thread_node, thread_group;
  std::optional<Field> rq_idle;

  static Result<Fields> resolve(const Types& types);

  // What add() reads of a task, with its place on the lists.
  StructBlock block() const {
    std::vector<Field> list = {tasks, pid, tgid, comm, flags, state, exit_state, real_parent};
    for (const auto& field : {on_cpu, cpu, signal, thread_node})
      if (field) list.push_back(*field);
    return StructBlock(list);
  }
};

Result<Fields> Fields::resolve(const Types& types) {
  Fields fields{};
  const auto filled = types.fill({{"task_struct.tasks", &fields.tasks},
                                  {"task_struct.pid", &fields.pid},
                                  {"task_struct.tgid", &fields.tgid},
                                  {"task_struct.comm", &fields.comm},
                                  {"task_struct.flags", &fields.flags},
                                  {"task_struct.exit_state", &fields.exit_state},
                                  {"task_struct.real_parent", &fields.real_parent}});
  if (!filled) return fail(filled.error());
  // `state` became `__state` with 2f064a59a11f (5.14).
  const auto state = types.field("task_struct.__state");
  const auto any_state = state ? state : types.field("task_struct.state");
  if (!any_state) return fail(any_state.error());
  fields.state = *any_state;

  fields.on_cpu = types.maybe_field("task_struct.on_cpu");
  // task_cpu(): in thread_info since bcf9033e5449 (5.16), in task_struct before.
  fields.cpu = types.maybe_field("task_struct.thread_info.cpu");
  if (!fields.cpu) fields.cpu = types.maybe_field("task_struct.cpu");
  fields.signal = types.maybe_field("task_struct.signal");
  fields.thread_head = types.maybe_field("signal_struct.thread_head");
  fields.thread_node = types.maybe_field("task_struct.thread_node");
  fields.thread_group = types.maybe_field("task_struct.thread_group");
  fields.rq_idle = types.maybe_field("rq.idle");
  return fields;
}

class TaskWalk {
 public:
  TaskWalk(const Kernel& kernel, const Fields& fields, WalkBudget budget)
      : kernel_(kernel), memory_(kernel.memory()), fields_(fields), task_(fields.block()), names_(kernel), budget_(budget) {}

  TaskTable run(Kva init_task) {
    // The head itself, so that a link into its middle ends a chain.
    seen_.insert(init_task.value);
    walk_processes(init_task + fields_.tasks.offset);
    walk_idle();
    table_.steps = budget_.taken();
    if (!budget_.reason().empty()) problem(fmt::format("stopped after {} tasks: {}", table_.tasks.size(), budget_.reason()));
    return std::move(table_);
  }

 private:
  struct Links {
    std::uint64_t next;
    std::uint64_t prev;
  };
  enum class End { head, broken, budget };

  void problem(std::string text) {
    table_.complete = false;
    ++table_.problem_count;
    if (table_.problems.size() < TaskTable::kMaxProblems) table_.problems.push_back(std::move(text));
  }

  // Follows a ring of list_heads from `head` until it comes back, one way or the other. `visit` gets each task once and says
  // whether to go on. A node that was seen before is a loop that misses the head.
  // `list()` names the ring, for problems; most have none, so the name is only made when one does.
  template <class List, class Visit>
  End follow(Kva head, std::uint32_t node_offset, bool backwards, const List& list, const Visit& visit) {
    auto links = memory_.get<Links>(head);
    if (!links) {
      problem(memory_.unreadable(head, sizeof(Links), list()).value().message);
      return End::broken;
    }
    Kva from = head;
    for (;;) {
      const Kva node(backwards ? links->prev : links->next);
      if (node == head) return End::head;
      if (!budget_.step()) return End::budget;
      if (node.value % 8 != 0 || (links = memory_.get<Links>(node), !links)) {
        problem(fmt::format("{}: the node at {:#x} links to {:#x}, which is no list node", list(), from.value, node.value));
        return End::broken;
      }
      if ((backwards ? links->next : links->prev) != from.value) ++table_.torn_links;
      from = node;
      task_.prefetch(memory_, Kva(backwards ? links->prev : links->next) - node_offset);  // the next one, while this one is looked at
      if (!visit(node - node_offset)) return End::broken;
    }
  }

  void walk_processes(Kva head) {
    const auto list = [] { return std::string("the process list"); };
    const auto from_its_end = [] { return std::string("the process list from its end"); };
    const auto visit = [&](Kva task) {
      if (!seen_.insert(task.value)) {
        problem(fmt::format("{} comes back to the task at {:#x} instead of its head", list(), task.value));
        return false;
      }
      add(task, table_.tasks);
      walk_threads(task);
      return true;
    };
    if (follow(head, fields_.tasks.offset, false, list, visit) != End::broken) return;
    // What lies behind the break can be had from the other end, up to where this walk came.
    follow(head, fields_.tasks.offset, true, from_its_end, [&](Kva task) { return !seen_.contains(task.value) && visit(task); });
  }

  void walk_threads(Kva leader) {
    const auto list = [&] { return fmt::format("the thread list of the task at {:#x}", leader.value); };
    bool leader_met = false;
    const auto visit = [&](Kva task) {
      if (task == leader && !std::exchange(leader_met, true)) return true;
      if (!seen_.insert(task.value)) {
        problem(fmt::format("{} leads to the task at {:#x}, which was seen before", list(), task.value));
        return false;
      }
      add(task, table_.tasks);
      return true;
    };
    if (fields_.signal && fields_.thread_head && fields_.thread_node) {
      const auto signal = memory_.get_pointer(leader, *fields_.signal);
      if (!signal)
        problem(fmt::format("the task at {:#x} has no signal_struct: its threads are unknown", leader.value));
      else
        follow(*signal + fields_.thread_head->offset, fields_.thread_node->offset, false, list, visit);
    } else if (fields_.thread_group) {
      follow(leader + fields_.thread_group->offset, fields_.thread_group->offset, false, list, visit);
    } else if (!std::exchange(threads_unknown_, true)) {
      problem("the kernel's BTF has neither signal_struct.thread_head nor task_struct.thread_group: threads are unknown");
    }
  }

  // The CPUs' idle tasks are linked nowhere; each run queue knows its own.
  void walk_idle() {
    if (!fields_.rq_idle) return problem("the kernel's BTF has no rq.idle: idle tasks are unknown");
    const auto cpus = kernel_.possible_cpus();
    if (!cpus) return problem(fmt::format("idle tasks are unknown: {}", cpus.error().message));
    for (const std::uint32_t cpu : *cpus) {
      if (!budget_.step()) return;
      const auto rq = kernel_.per_cpu("runqueues", cpu);
      if (!rq) return problem(fmt::format("idle tasks are unknown: {}", rq.error().message));
      const auto idle = memory_.get_number(*rq, *fields_.rq_idle);
      if (!idle)
        problem(memory_.unreadable(*rq + fields_.rq_idle->offset, 8, fmt::format("rq.idle of CPU {}", cpu)).value().message);
      else if (*idle != 0)  // null: a possible CPU that was never brought up
        add(Kva(*idle), table_.idle);
    }
  }

  void add(Kva address, std::vector<Task>& to) {
    Task task;
    task.address = address;
    task_.load(memory_, address);
    const auto pid = task_.number(fields_.pid);
    const auto tgid = task_.number(fields_.tgid);
    const auto flags = task_.number(fields_.flags);
    auto comm = task_.text(fields_.comm);
    if (!pid || !tgid || !flags || !comm) return problem(fmt::format("the task at {:#x} is not readable", address.value));
    task.pid = static_cast<std::int32_t>(*pid);
    task.tgid = static_cast<std::int32_t>(*tgid);
    task.kernel_thread = (*flags & kPfKthread) != 0;
    task.comm = names_.name(address, static_cast<std::uint32_t>(*flags), std::move(*comm));

    const auto state = task_.number(fields_.state);
    const auto exit_state = task_.number(fields_.exit_state);
    if (state && exit_state) task.state = task_state_letter(static_cast<std::uint32_t>(*state), static_cast<std::uint32_t>(*exit_state));
    if (const auto on_cpu = task_.as<std::uint64_t>(fields_.on_cpu)) task.on_cpu = *on_cpu != 0;
    task.cpu = task_.as<std::uint32_t>(fields_.cpu);
    if (const auto parent = task_.pointer(fields_.real_parent)) task.ppid = tgid_of(*parent);
    to.push_back(std::move(task));
  }

  // Of a parent, which many have in common.
  std::optional<std::int32_t> tgid_of(Kva task) {
    if (task != parent_) {
      parent_ = task;
      const auto tgid = memory_.get_number(task, fields_.tgid);
      parent_tgid_ = tgid ? std::optional(static_cast<std::int32_t>(*tgid)) : std::nullopt;
    }
    return parent_tgid_;
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const Fields& fields_;
  StructBlock task_;
  Kva parent_;
  std::optional<std::int32_t> parent_tgid_;
  TaskNames names_;
  WalkBudget budget_;
  TaskTable table_;
  AddressSet seen_;  // tasks
  bool threads_unknown_ = false;
};

}  // namespace

char task_state_letter(std::uint32_t state, std::uint32_t exit_state) {
  std::uint32_t reported = (state | exit_state) & kTaskReport;
  if ((state & kTaskIdle) == kTaskIdle) reported = kTaskReportIdle;
  // Kernels without 0d6b35283bcf (6.6) and f718faf3940e (6.13) themselves show a freezable idle task as D and a frozen one as R.
  if ((state & kTaskRtlockWait) != 0 || (state & kTaskFrozen) != 0) reported = kTaskUninterruptible;
  return "RSDTtXZPI"[std::bit_width(reported)];
}

Result<TaskTable> tasks(const Kernel& kernel, WalkBudget budget) {
  const auto init_task = kernel.symbol("init_task");
  if (!init_task) return fail(init_task.error());
  const auto fields = Fields::resolve(kernel.types());
  if (!fields) return fail(fields.error());
  return TaskWalk(kernel, *fields, budget).run(*init_task);
}

}  // namespace floe::walkers
