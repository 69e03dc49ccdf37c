#include "freeze/kernel_ops.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "walkers/budget.hpp"
#include "walkers/list.hpp"

namespace floe::freeze {
namespace {

namespace wire = vmm::wire;
using walkers::Field;

// include/linux/sched.h and include/uapi/linux/sched.h: macros, so BTF does not have them.
constexpr std::uint64_t kTaskDead = 0x80;
constexpr std::uint64_t kSchedResetOnFork = 0x40000000;
constexpr std::uint64_t kSchedExt = 7;
constexpr std::uint64_t kClockTick = 10'000'000;  // ns, as /proc/PID/stat counts

std::uint32_t width_of(const wire::KernelValue& value) {
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) return static_cast<std::uint32_t>(bytes->size());
  return std::holds_alternative<std::uint64_t>(value) ? 8 : 4;
}

// Loads and stores of guest words; what is no aligned word of 4 or 8 bytes goes by pieces.
void load(std::span<std::byte> to, const std::byte* from) {
  copy_volatile(to, from);
}

void store(std::byte* to, std::span<const std::byte> from) {
  const auto whole = [&]<class Word>(Word word) {
    if (from.size() != sizeof word || reinterpret_cast<std::uintptr_t>(to) % sizeof word != 0) return false;
    std::memcpy(&word, from.data(), sizeof word);
    __atomic_store_n(reinterpret_cast<Word*>(to), word, __ATOMIC_RELEASE);
    return true;
  };
  if (whole(std::uint32_t{}) || whole(std::uint64_t{})) return;
  std::memcpy(to, from.data(), from.size());
}

// A task_struct of the running guest.
struct TaskFields {
  Field tasks, pid, state, start_time, start_boottime;
  std::optional<Field> signal, thread_head, thread_node, thread_group;

  static Result<TaskFields> resolve(const walkers::Types& types) {
    TaskFields fields;
    const auto filled = types.fill({{"task_struct.tasks", &fields.tasks},
                                    {"task_struct.pid", &fields.pid},
                                    {"task_struct.start_time", &fields.start_time},
                                    // real_start_time before cf25e24db61c (5.5)
                                    {"task_struct.start_boottime", &fields.start_boottime}});
    if (!filled) return fail(filled.error());
    const auto state = types.field("task_struct.__state");
    const auto any = state ? state : types.field("task_struct.state");
    if (!any) return fail(any.error());
    fields.state = *any;
    fields.signal = types.maybe_field("task_struct.signal");
    fields.thread_head = types.maybe_field("signal_struct.thread_head");
    fields.thread_node = types.maybe_field("task_struct.thread_node");
    fields.thread_group = types.maybe_field("task_struct.thread_group");
    return fields;
  }
};

// The thread of that number. The guest runs: a list that is being changed may lead astray, and is followed again then.
Result<Kva> find_task(const walkers::Kernel& kernel, const TaskFields& fields, std::int32_t pid) {
  const auto init = kernel.symbol("init_task");
  if (!init) return fail(init.error());
  const auto& memory = kernel.memory();
  walkers::WalkBudget budget(KernelOp::kMaxTaskNodes);
  std::optional<Kva> found;
  const auto is_it = [&](Kva task) {
    const auto number = memory.get_number(task, fields.pid);
    if (number && static_cast<std::int32_t>(*number) == pid) found = task;
    return !found;
  };
  const auto visit_process = [&](Kva node) {
    const Kva leader = node - fields.tasks.offset;
    if (!is_it(leader)) return false;
    if (fields.signal && fields.thread_head && fields.thread_node) {
      if (const auto signal = memory.get_pointer(leader, *fields.signal))
        walkers::walk_list(memory, *signal + fields.thread_head->offset, budget,
                           [&](Kva thread) { return is_it(thread - fields.thread_node->offset); });
    } else if (fields.thread_group) {
      walkers::walk_list(memory, leader + fields.thread_group->offset, budget,
                         [&](Kva thread) { return is_it(thread - fields.thread_group->offset); });
    }
    return !found && !budget.exhausted();
  };
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    const auto walk = walkers::walk_list(memory, *init + fields.tasks.offset, budget, visit_process);
    if (found) return *found;
    if (budget.exhausted()) return fail(fmt::format("task {} is not among the first {} that were looked at", pid, KernelOp::kMaxTaskNodes));
    if (walk.end == walkers::ListEnd::head) return fail(fmt::format("there is no task {}", pid));
  }
  return fail(fmt::format("the list of processes cannot be followed to task {}", pid));
}

// The struct that a per-CPU variable is, as the kernel's BTF has it (pahole writes all per-CPU variables into it), or as is known.
Result<std::string> struct_of_variable(const walkers::Types& types, const std::string& symbol) {
  const btf* raw = types.raw();
  const std::int32_t variable = btf__find_by_name_kind(raw, symbol.c_str(), BTF_KIND_VAR);
  if (variable > 0) {
    const std::int32_t peeled = btf__resolve_type(raw, btf__type_by_id(raw, static_cast<std::uint32_t>(variable))->type);
    const auto* type = peeled > 0 ? btf__type_by_id(raw, static_cast<std::uint32_t>(peeled)) : nullptr;
    const char* name = type != nullptr && btf_is_composite(type) ? btf__name_by_offset(raw, type->name_off) : nullptr;
    if (name != nullptr && *name != '\0') return std::string(name);
    return fail(fmt::format("{} is no struct with a name", symbol));
  }
  if (symbol == "runqueues") return std::string("rq");
  return fail(fmt::format("the kernel's BTF has no per-CPU variable {}", symbol));
}

Result<void> check_width(std::uint32_t bytes, const Field& field, std::string_view path) {
  if (bytes > field.bytes) return fail(fmt::format("{} has {} bytes, not {}", path, field.bytes, bytes));
  return {};
}

// Where the direct map begins: a variable in kernels that place it by chance, else a constant (arch/x86/include/asm/page_64_types.h).
Kva direct_map(const walkers::Kernel& kernel) {
  if (const auto variable = kernel.symbols().find("page_offset_base"))
    if (const auto base = kernel.memory().get<std::uint64_t>(*variable)) return Kva(*base);
  return Kva(kernel.info().five_levels() ? 0xff11'0000'0000'0000 : 0xffff'8880'0000'0000);
}

}  // namespace

KernelOp::KernelOp(KernelOpRequest request, vmm::GuestRam& ram) : request_(std::move(request)), ram_(&ram) {}

KernelOp KernelOp::resolve(KernelOpRequest request, const walkers::Kernel& tables, const LiveMemory& live, vmm::GuestRam& ram) {
  KernelOp op(std::move(request), ram);
  const auto kernel = tables.over(live);
  if (!kernel) {
    op.unresolved_ = "the kernel's page tables are not known";
    return op;
  }
  op.tables_.emplace(live, kernel->paged()->tables().root(), kernel->paged()->tables().five_levels());
  std::size_t results = 0;
  const bool reads = op.request_.direction == KernelOpRequest::Direction::kRead;
  for (const auto& entry : op.request_.entries) {
    auto place = op.resolve(entry, *kernel);
    if (place && reads) {
      place->result = results;
      results += place->bytes;
      if (results > kMaxReadBytes) place = fail(fmt::format("more than {} bytes would be read", kMaxReadBytes));
    }
    if (!place) {
      op.unresolved_ = std::move(place.error().message);
      break;
    }
    op.places_.push_back(*place);
  }
  if (reads) op.results_.resize(std::min(results, kMaxReadBytes));
  return op;
}

Result<KernelOp::Place> KernelOp::resolve(const KernelOpEntry& entry, const walkers::Kernel& kernel) {
  if (std::holds_alternative<wire::OrU32>(entry.value) && request_.direction == KernelOpRequest::Direction::kRead)
    return fail("setting bits is no way to read");
  Place place;
  place.bytes = width_of(entry.value);
  if (place.bytes == 0) return fail("the value has no bytes");
  if (const auto* symbol = std::get_if<wire::SymbolTarget>(&entry.target)) {
    const auto address = kernel.symbol(symbol->name);
    if (!address) return fail(address.error());
    place.address = *address;
  } else if (const auto* direct = std::get_if<wire::DirectTarget>(&entry.target)) {
    place.address = Kva(direct->address);
    place.direct = Gpa(place.address - direct_map(kernel));
    if (place.direct->value + place.bytes < place.bytes || ram_->slice(*place.direct, place.bytes).empty())
      return fail(fmt::format("{:#x} and {} bytes on are not in the direct map of RAM", direct->address, place.bytes));
  } else if (const auto* kva = std::get_if<wire::KvaTarget>(&entry.target)) {
    place.address = Kva(kva->address);
    if (kva->address < kLowestKva) return fail(fmt::format("{:#x} is below the kernel's addresses", kva->address));
    if (kva->address + (place.bytes - 1) < kva->address)
      return fail(fmt::format("{:#x} and {} bytes on wrap around", kva->address, place.bytes));
  } else if (const auto* per_cpu = std::get_if<wire::PerCpuTarget>(&entry.target)) {
    const auto type = struct_of_variable(kernel.types(), per_cpu->symbol);
    if (!type) return fail(type.error());
    const auto field = kernel.types().field(*type + "." + per_cpu->field);
    if (!field) return fail(field.error());
    if (auto fits = check_width(place.bytes, *field, per_cpu->field); !fits) return fail(fits.error());
    const auto variable = kernel.per_cpu(per_cpu->symbol, per_cpu->cpu);
    if (!variable) return fail(variable.error());
    // A CPU that never came to be has no area of its own; its offset would lead into the first one's.
    if (per_cpu->cpu > 0 && *variable == *kernel.symbol(per_cpu->symbol)) return fail(fmt::format("CPU {} does not exist", per_cpu->cpu));
    place.address = *variable + field->offset;
  } else {
    return resolve(std::get<wire::TaskTarget>(entry.target), place.bytes, kernel);
  }
  return place;
}

Result<KernelOp::Place> KernelOp::resolve(const wire::TaskTarget& target, std::uint32_t bytes, const walkers::Kernel& kernel) {
  const auto& types = kernel.types();
  const auto field = types.field("task_struct." + target.field);
  if (!field) return fail(field.error());
  if (auto fits = check_width(bytes, *field, target.field); !fits) return fail(fits.error());
  const auto fields = TaskFields::resolve(types);
  if (!fields) return fail(fields.error());
  const auto task = find_task(kernel, *fields, target.pid);
  if (!task) return fail(task.error());

  Place place;
  place.address = *task + field->offset;
  place.bytes = bytes;
  place.first_condition = conditions_.size();
  const auto require = [&](const Field& of, std::uint64_t mask, std::uint64_t expected, bool differs, const char* otherwise) {
    conditions_.push_back({*task + of.offset, static_cast<std::uint8_t>(of.bytes), mask, expected, differs, otherwise});
  };
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  require(fields->pid, 0xffff'ffff, static_cast<std::uint32_t>(target.pid), false, "the task is gone");
  require(fields->state, kTaskDead, 0, false, "the task is dead");
  require(fields->start_boottime, kAll, 0, true, "the task has no start time");

  const auto& memory = kernel.memory();
  const auto start = memory.get_number(*task, fields->start_time);
  const auto boottime = memory.get_number(*task, fields->start_boottime);
  if (start && *start == target.start_time_ns)
    require(fields->start_time, kAll, *start, false, "the task has started at another time");
  else if (boottime && (*boottime == target.start_time_ns || *boottime / kClockTick * kClockTick == target.start_time_ns))
    require(fields->start_boottime, kAll, *boottime, false, "the task has started at another time");
  else
    return fail(fmt::format("task {} has not started at {}: another had that number", target.pid, target.start_time_ns));

  if (request_.direction == KernelOpRequest::Direction::kWrite) {
    Field on_rq, sched_class, policy, dsq, runnable;
    const auto filled = types.fill({{"task_struct.on_rq", &on_rq},
                                    {"task_struct.sched_class", &sched_class},
                                    {"task_struct.policy", &policy},
                                    {"task_struct.scx.dsq", &dsq},
                                    {"task_struct.scx.runnable_node.next", &runnable}});
    if (!filled) return fail(filled.error());
    const auto ext = kernel.symbol("ext_sched_class");
    if (!ext) return fail(ext.error());
    require(on_rq, kAll, 0, false, "the task is on a run queue");
    require(dsq, kAll, 0, false, "the task is on a DSQ");
    require(runnable, kAll, (*task + runnable.offset).value, false, "the task is on a runnable list");
    require(sched_class, kAll, ext->value, false, "the task is not of the ext class");
    require(policy, 0xffff'ffff & ~kSchedResetOnFork, kSchedExt, false, "the task's policy is not SCHED_EXT");
  }
  place.conditions = conditions_.size() - place.first_condition;
  for (const auto& condition : std::span(conditions_).subspan(place.first_condition))
    if (!holds(condition)) return fail(fmt::format("task {}: {}", target.pid, condition.otherwise));
  return place;
}

bool KernelOp::holds(const Condition& condition) const noexcept {
  if (condition.bytes > 8 || !std::has_single_bit(condition.bytes)) return false;
  const auto found = tables_->translate(condition.address);
  if (!found) return false;
  const auto host = ram_->slice(found->gpa, condition.bytes);
  if (host.empty()) return false;
  std::uint64_t value = 0;
  load(std::as_writable_bytes(std::span(&value, 1)).first(condition.bytes), host.data());
  return ((value & condition.mask) == condition.expected) != condition.differs;
}

std::optional<Gpa> KernelOp::locate(const Place& place, std::uint64_t offset) const noexcept {
  if (place.direct) return *place.direct + offset;
  const auto found = tables_->translate(place.address + offset);
  return found ? std::optional(found->gpa) : std::nullopt;
}

void KernelOp::apply() noexcept {
  if (std::exchange(applied_, true)) return;
  for (; done_ < places_.size(); ++done_) {
    cause_ = apply(done_);
    if (cause_ != Cause::none) return;
  }
}

KernelOp::Cause KernelOp::apply(std::size_t index) noexcept {
  const auto& place = places_[index];
  for (const auto& condition : std::span(conditions_).subspan(place.first_condition, place.conditions)) {
    if (holds(condition)) continue;
    failed_condition_ = condition.otherwise;
    return Cause::condition;
  }
  // Calls piece(gpa, bytes, done) for the part on each page.
  const auto each_page = [&](const auto& piece) {
    for (std::uint64_t done = 0; done < place.bytes;) {
      const std::uint64_t at = (place.address + done).value;
      const std::uint64_t bytes = std::min<std::uint64_t>(place.bytes - done, kPageBytes - at % kPageBytes);
      failed_at_ = Kva(at);
      const auto gpa = locate(place, done);
      if (!gpa) return Cause::unmapped;
      const auto host = ram_->slice(*gpa, bytes);
      if (host.empty()) return Cause::not_ram;
      piece(host, *gpa, done);
      done += bytes;
    }
    return Cause::none;
  };
  if (request_.direction == KernelOpRequest::Direction::kRead) {
    return each_page([&](std::span<std::byte> host, Gpa, std::uint64_t done) {
      load(std::span(results_).subspan(place.result + done, host.size()), host.data());
    });
  }
  // All of it or nothing.
  if (const auto cause = each_page([](std::span<std::byte>, Gpa, std::uint64_t) {}); cause != Cause::none) return cause;
  const auto& value = request_.entries[index].value;
  return each_page([&](std::span<std::byte> host, Gpa gpa, std::uint64_t done) {
    std::visit(
        [&]<class Value>(const Value& wanted) {
          if constexpr (std::is_same_v<Value, std::vector<std::byte>>) {
            store(host.data(), std::span(wanted).subspan(done, host.size()));
          } else if constexpr (std::is_same_v<Value, wire::OrU32>) {
            const auto mask = std::as_bytes(std::span(&wanted.mask, 1)).subspan(done, host.size());
            if (host.size() == 4 && reinterpret_cast<std::uintptr_t>(host.data()) % 4 == 0)
              __atomic_fetch_or(reinterpret_cast<std::uint32_t*>(host.data()), wanted.mask, __ATOMIC_ACQ_REL);
            else
              for (std::size_t i = 0; i < host.size(); ++i) host[i] |= mask[i];
          } else {
            store(host.data(), std::as_bytes(std::span(&wanted, 1)).subspan(done, host.size()));
          }
        },
        value);
    ram_->mark_written(gpa, host.size());
  });
}

std::string KernelOp::explain() const {
  switch (cause_) {
    case Cause::unmapped:
      return tables_->explain(failed_at_);
    case Cause::not_ram:
      return fmt::format("{:#x} is not RAM", failed_at_.value);
    case Cause::condition:
      return failed_condition_;
    case Cause::none:
      break;
  }
  return unresolved_;
}

KernelReply KernelOp::reply() const {
  if (!applied_) return refuse(request_, "it was not carried out");
  if (cause_ != Cause::none || !unresolved_.empty()) {
    if (request_.entries.empty() || done_ >= request_.entries.size()) return refuse(request_, explain());
    return refuse(request_, fmt::format("entry {}: {}", done_, explain()));
  }
  KernelReply reply;
  reply.id = request_.id;
  if (request_.direction == KernelOpRequest::Direction::kWrite) return reply;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto bytes = std::span(results_).subspan(places_[i].result, places_[i].bytes);
    const auto& asked = request_.entries[i].value;
    const auto number = [&]<class Number>(Number value) {
      std::memcpy(&value, bytes.data(), sizeof value);
      reply.values.emplace_back(value);
    };
    if (std::holds_alternative<std::uint32_t>(asked))
      number(std::uint32_t{});
    else if (std::holds_alternative<std::uint64_t>(asked))
      number(std::uint64_t{});
    else
      reply.values.emplace_back(std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  return reply;
}

KernelReply execute(KernelOpRequest request, const walkers::Kernel& tables, const LiveMemory& live, vmm::GuestRam& ram) {
  auto op = KernelOp::resolve(std::move(request), tables, live, ram);
  op.apply();
  return op.reply();
}

KernelReply refuse(const KernelOpRequest& request, std::string_view reason) {
  KernelReply reply;
  reply.id = request.id;
  reply.success = false;
  reply.reason = wire::cut_text(reason, KernelReply::kMaxReason);
  return reply;
}

}  // namespace floe::freeze
