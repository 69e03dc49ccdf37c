#include "walkers/scx/sched.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "walkers/code_address.hpp"

namespace floe::walkers::scx {
namespace {

constexpr std::size_t kMaxMessage = 4096;    // SCX_EXIT_MSG_LEN is 1024
constexpr std::size_t kMaxDump = 1u << 20;   // sched_ext_ops.exit_dump_len is 32 KiB by default
constexpr std::uint32_t kMaxBacktrace = 64;  // SCX_EXIT_BT_LEN
constexpr std::size_t kMaxSchedulers = 1024;

// What scx_exit_reason() in kernel/sched/ext.c calls each enum scx_exit_kind.
constexpr std::pair<std::uint32_t, std::string_view> kExitKinds[] = {{0, "none"},
                                                                     {1, "done"},
                                                                     {64, "unregistered from user space"},
                                                                     {65, "unregistered from BPF"},
                                                                     {66, "unregistered from the main kernel"},
                                                                     {67, "disabled by sysrq-S"},
                                                                     {68, "parent exiting"},
                                                                     {1024, "runtime error"},
                                                                     {1025, "scx_bpf_error"},
                                                                     {1026, "runnable task stall"}};
constexpr std::int32_t kMaxLevel = 64;  // SCX_SUB_MAX_DEPTH is 4
constexpr std::size_t kMaxCgroupPath = 4096;
constexpr std::string_view kTruncated = "~~~~ TRUNCATED ~~~~";  // what the kernel itself ends a cut dump with

std::optional<std::string> enable_state(Walk& walk) {
  if (!walk.layout.enable_state) return std::nullopt;
  const auto value = walk.memory.get<std::int32_t>(*walk.layout.enable_state);
  if (!value) return std::nullopt;
  for (const auto& [state, name] : walk.layout.enable_states)
    if (state == *value) return name;
  return fmt::format("state {}", *value);
}

template <class T>
std::optional<T> number(Walk& walk, Kva object, const std::optional<Field>& field) {
  if (!field) return std::nullopt;
  const auto value = walk.memory.get_number(object, *field);
  return value ? std::optional(static_cast<T>(*value)) : std::nullopt;
}

template <class T>
std::optional<T> variable(Walk& walk, const std::optional<Kva>& address) {
  return address ? walk.memory.get<T>(*address) : std::nullopt;
}

// The variables that hold for all schedulers, in kernels where the scx_sched does not have them.
void add_globals(Walk& walk, SchedState& state) {
  if (!walk.layout.sched || !walk.layout.sched->bypass_depth)
    state.bypass_depth = variable<std::int32_t>(walk, walk.layout.global_bypass_depth).value_or(0);
  if (!walk.layout.sched || !walk.layout.sched->aborting)
    state.aborting = variable<std::uint8_t>(walk, walk.layout.global_aborting).value_or(0) != 0;
  if (!state.watchdog_timeout) state.watchdog_timeout = variable<std::uint64_t>(walk, walk.layout.watchdog_timeout);
  state.source = "live";
  state.enable_state = enable_state(walk);
  state.exit_kind_name = exit_kind_name(state.exit_kind);
}

std::optional<SchedState> state_of_globals(Walk& walk) {
  const auto enabled = enable_state(walk);
  const auto kind = variable<std::uint32_t>(walk, walk.layout.global_exit_kind);
  if (!kind || !enabled || *enabled == "disabled") return std::nullopt;
  SchedState state;
  state.exit_kind = *kind;
  if (walk.layout.global_ops_name) state.ops_name = walk.memory.get_string(*walk.layout.global_ops_name, 128);
  add_globals(walk, state);
  return state;
}

std::optional<Kva> exit_info_address(Walk& walk) {
  if (walk.layout.scx_root) {
    const auto root = walk.root();
    if (!root || !walk.layout.sched || !walk.layout.sched->exit_info) return std::nullopt;
    return walk.memory.get_pointer(*root, *walk.layout.sched->exit_info);
  }
  const auto info = variable<std::uint64_t>(walk, walk.layout.global_exit_info);
  return info && *info != 0 ? std::optional(Kva(*info)) : std::nullopt;
}

// A string of at most `most` bytes behind a pointer, as far as it is readable.
std::string text_at(Walk& walk, Kva info, Field field, std::size_t most) {
  constexpr std::size_t kChunk = 1024;
  const auto start = walk.memory.get_pointer(info, field);
  std::string text;
  while (start && text.size() < most && walk.budget.step()) {
    const std::size_t done = text.size();
    text.resize(std::min(done + kChunk, most));
    const auto chunk = std::as_writable_bytes(std::span(text)).subspan(done);
    const std::size_t got = walk.memory.read(*start + done, chunk);
    text.resize(done + got);
    const auto end = text.find('\0', done);
    if (end != text.npos) {
      text.resize(end);
      break;
    }
    if (got < chunk.size()) break;
  }
  return text;
}

void add_backtrace(Walk& walk, Kva info, ExitInfo& result) {
  const auto& fields = *walk.layout.exit_info;
  if (!fields.backtrace || !fields.backtrace_length) return;
  const auto entries = walk.memory.get_pointer(info, *fields.backtrace);
  const auto length = walk.memory.get_number(info, *fields.backtrace_length);
  if (!entries || !length || *length == 0) return;
  const CodeAddresses code(walk.kernel);
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(*length, kMaxBacktrace); ++i) {
    const auto address = walk.memory.get<std::uint64_t>(*entries + 8 * i);
    if (!address) return walk.problem(fmt::format("exit_info's backtrace is not readable from entry {} on", i));
    result.backtrace.push_back(code.text(Kva(*address)));
  }
}

SchedNode node_of(Walk& walk, Kva sched) {
  const auto& fields = *walk.layout.sched;
  SchedNode node;
  node.sched_kva = sched.value;
  if (fields.ops_name) node.ops_name = walk.memory.get_string(sched, *fields.ops_name).value_or("");
  node.level = number<std::int32_t>(walk, sched, fields.level).value_or(0);
  node.exit_kind = number<std::uint32_t>(walk, sched, fields.exit_kind).value_or(0);
  if (fields.cgroup_path)
    if (const auto path = walk.memory.get_pointer(sched, *fields.cgroup_path))
      node.cgroup_path = walk.memory.get_string(*path, kMaxCgroupPath);
  // ancestors[level] is the scheduler itself.
  if (fields.ancestors && node.level > 0 && node.level < kMaxLevel)
    node.parent_kva = walk.memory.get<std::uint64_t>(sched + fields.ancestors->offset + 8 * static_cast<std::uint64_t>(node.level - 1));
  return node;
}

}  // namespace

std::string exit_kind_name(std::uint32_t kind) {
  for (const auto& [known, name] : kExitKinds)
    if (known == kind) return std::string(name);
  return fmt::format("kind {}", kind);
}

std::optional<std::uint32_t> exit_kind_of(std::string_view name) {
  for (const auto& [kind, known] : kExitKinds)
    if (known == name) return kind;
  return std::nullopt;
}

std::optional<SchedState> sched_state(Walk& walk) {
  if (!walk.layout.scx_root) return state_of_globals(walk);
  const auto root = walk.root();
  if (!root || !walk.layout.sched) return std::nullopt;
  const auto& fields = *walk.layout.sched;
  const auto kind = number<std::uint32_t>(walk, *root, fields.exit_kind);
  if (!kind) {
    walk.problem(fmt::format("the scx_sched at {:#x} is not readable", root->value));
    return std::nullopt;
  }
  SchedState state;
  state.sched_kva = root->value;
  state.exit_kind = *kind;
  state.aborting = number<std::uint8_t>(walk, *root, fields.aborting).value_or(0) != 0;
  state.bypass_depth = number<std::int32_t>(walk, *root, fields.bypass_depth).value_or(0);
  state.watchdog_timeout = number<std::uint64_t>(walk, *root, fields.watchdog_timeout);
  if (fields.ops_name) state.ops_name = walk.memory.get_string(*root, *fields.ops_name);
  add_globals(walk, state);
  return state;
}

std::optional<ExitInfo> exit_info(Walk& walk) {
  if (!walk.layout.exit_info) return std::nullopt;
  const auto info = exit_info_address(walk);
  if (!info) return std::nullopt;
  const auto& fields = *walk.layout.exit_info;
  const auto kind = walk.memory.get_number(*info, fields.kind);
  const auto code = walk.memory.get_number(*info, fields.exit_code);
  if (!kind || !code) return std::nullopt;
  ExitInfo result;
  result.kind = static_cast<std::uint32_t>(*kind);
  result.exit_code = static_cast<std::int64_t>(*code);
  result.reason = text_at(walk, *info, fields.reason, 256);
  result.msg = text_at(walk, *info, fields.msg, kMaxMessage);
  // The message is written before the kind.
  if (result.kind == 0 && result.msg.empty()) return std::nullopt;
  add_backtrace(walk, *info, result);
  if (fields.dump) {
    result.dump = text_at(walk, *info, *fields.dump, kMaxDump);
    result.dump_truncated = result.dump.size() == kMaxDump || result.dump.find(kTruncated) != result.dump.npos;
  }
  return result;
}

std::vector<SchedNode> sched_tree(Walk& walk) {
  std::vector<SchedNode> nodes;
  const auto root = walk.root();
  if (!root || !walk.layout.sched) return nodes;
  const auto& fields = *walk.layout.sched;
  nodes.push_back(node_of(walk, *root));
  // Breadth first, each scheduler's list of children in turn; one that is met twice closes a loop.
  if (!fields.children || !fields.sibling) return nodes;
  AddressSet seen;
  seen.insert(root->value);
  for (std::size_t parent = 0; parent < nodes.size(); ++parent) {
    const Kva address(nodes[parent].sched_kva);
    const auto visit = [&](Kva link) {
      const Kva sched = link - fields.sibling->offset;
      if (nodes.size() == kMaxSchedulers || !seen.insert(sched.value)) return false;
      nodes.push_back(node_of(walk, sched));
      nodes.back().parent_kva = address.value;
      return true;
    };
    const auto walked = walk_list(walk.memory, address + fields.children->offset, walk.budget, visit);
    if (auto problem = walked.problem(fmt::format("the children of the scx_sched at {:#x}", address.value), walk.budget))
      walk.problem(std::move(*problem));
    if (walked.end == ListEnd::stopped) walk.problem("the tree of schedulers does not end");
  }
  return nodes;
}

}  // namespace floe::walkers::scx
