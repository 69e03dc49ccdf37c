#include "walkers/psi.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "walkers/list.hpp"

namespace floe::walkers {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::size_t kMaxProblems = 32;
constexpr std::size_t kMaxDepth = 128;

// One state of enum psi_states in psi_group.total[PSI_AVGS][] and .avg[][0].
struct StatePlace {
  std::uint32_t total = 0, avg10 = 0;
};

struct Fields {
  Field root_cgroup;        // cgroup_root.cgrp
  Field self, node, psi;    // of cgroup
  Field sibling, children;  // of cgroup_subsys_state
  Field name;               // kernfs_node.name
  std::optional<StatePlace> irq_full, cpu_some, cpu_full, memory_some, memory_full, io_some, io_full;
};

// Some pahole versions write a two-dimensional array as one of their product, so places are worked out from the sizes.
std::optional<StatePlace> place_of(const Types& types, const char* state) {
  const auto index = types.enumerator("psi_states", state);
  const auto count = types.enumerator("psi_states", "NR_PSI_STATES");
  const auto total = types.field("psi_group.total");
  const auto avg = types.field("psi_group.avg");
  if (!index || !count || !total || !avg || *index < 0 || *count < 2 || *index >= *count - 1 || *count > 64) return std::nullopt;
  const auto columns = static_cast<std::uint64_t>(*count - 1);  // PSI_NONIDLE has neither
  const auto at = static_cast<std::uint64_t>(*index);
  const std::uint64_t row = avg->bytes / columns;
  if (total->bytes < 2 * columns * 8 || row < 8) return std::nullopt;
  return StatePlace{static_cast<std::uint32_t>(total->offset + 8 * at), static_cast<std::uint32_t>(avg->offset + row * at)};
}

Result<Fields> resolve(const Types& types) {
  Fields fields{};
  const auto filled = types.fill({{"cgroup_root.cgrp", &fields.root_cgroup},
                                  {"cgroup.self", &fields.self},
                                  {"cgroup.kn", &fields.node},
                                  {"cgroup.psi", &fields.psi},
                                  {"cgroup_subsys_state.sibling", &fields.sibling},
                                  {"cgroup_subsys_state.children", &fields.children},
                                  {"kernfs_node.name", &fields.name}});
  if (!filled) return fail(filled.error());
  const std::pair<const char*, std::optional<StatePlace>*> states[] = {
      {"PSI_IRQ_FULL", &fields.irq_full},    {"PSI_CPU_SOME", &fields.cpu_some},    {"PSI_CPU_FULL", &fields.cpu_full},
      {"PSI_MEM_SOME", &fields.memory_some}, {"PSI_MEM_FULL", &fields.memory_full}, {"PSI_IO_SOME", &fields.io_some},
      {"PSI_IO_FULL", &fields.io_full}};
  for (const auto& [name, place] : states) *place = place_of(types, name);
  if (!fields.cpu_some && !fields.irq_full) return fail("the kernel's BTF has no psi_states");
  return fields;
}

class PsiWalk {
 public:
  PsiWalk(const KernelMemory& memory, const Fields& fields, WalkBudget& budget) : memory_(memory), fields_(fields), budget_(budget) {}

  // The cgroup that a path leads to.
  Result<Kva> descend(Kva from, std::string_view path) {
    Kva at = from;
    while (!path.empty()) {
      const auto slash = path.find('/');
      const auto part = path.substr(0, slash);
      path = slash == path.npos ? std::string_view{} : path.substr(slash + 1);
      if (part.empty()) continue;
      std::optional<Kva> found;
      each_child(at, [&](Kva child) {
        if (name_of(child) == part) found = child;
        return !found;
      });
      if (!found) return fail(fmt::format("there is no cgroup {} on the path", part));
      at = *found;
    }
    return at;
  }

  CgroupPsiTable run(Kva root, std::string path) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    seen_.insert(root.value);
    // Depth first by a list of what is still to do, the next one last: a guest's tree may be deeper than this program's stack.
    std::vector<Entry> todo;
    push_children(root, path, 0, todo);
    while (!todo.empty()) {
      const Entry entry = std::move(todo.back());
      todo.pop_back();
      if (push_children(entry.cgroup, entry.path, entry.depth, todo)) add_leaf(entry);
    }
    return std::move(table_);
  }

 private:
  struct Entry {
    Kva cgroup;
    std::string path;
    std::size_t depth = 0;
  };

  void problem(std::string text) {
    if (table_.problems.size() < kMaxProblems) table_.problems.push_back(std::move(text));
  }

  std::string name_of(Kva cgroup) const {
    const auto node = memory_.get_pointer(cgroup, fields_.node);
    const auto name = node ? memory_.get_pointer(*node, fields_.name) : std::nullopt;
    return name ? memory_.get_string(*name, kMaxName).value_or("") : "";
  }

  // False when there may be children that were not seen.
  template <class Visit>
  bool each_child(Kva cgroup, const Visit& visit) {
    const Kva css = cgroup + fields_.self.offset;
    const auto walked = walk_list(memory_, css + fields_.children.offset, budget_,
                                  [&](Kva link) { return visit(link - fields_.sibling.offset - fields_.self.offset); });
    if (auto text = walked.problem(fmt::format("the children of the cgroup at {:#x}", cgroup.value), budget_)) problem(std::move(*text));
    return walked.end == ListEnd::head;
  }

  // True when the cgroup has none.
  bool push_children(Kva cgroup, const std::string& path, std::size_t depth, std::vector<Entry>& todo) {
    if (depth == kMaxDepth) {
      problem("the tree of cgroups does not end");
      return false;
    }
    const auto first = static_cast<std::ptrdiff_t>(todo.size());
    const bool whole = each_child(cgroup, [&](Kva child) {
      if (!seen_.insert(child.value)) {
        problem(fmt::format("the cgroup at {:#x} is its own descendant", child.value));
        return false;
      }
      todo.push_back({child, path + "/" + name_of(child), depth + 1});
      return true;
    });
    std::reverse(todo.begin() + first, todo.end());
    return whole && todo.size() == static_cast<std::size_t>(first);
  }

  void add_leaf(const Entry& entry) {
    const auto psi = memory_.get_pointer(entry.cgroup, fields_.psi);
    if (!psi) return;
    CgroupPsi leaf;
    leaf.cgroup_kva = entry.cgroup.value;
    leaf.path = entry.path;
    if (const auto irq = pressure(*psi, fields_.irq_full)) {
      leaf.total_ns = irq->total_ns;
      leaf.avg10_raw = irq->avg10_raw;
    }
    leaf.cpu_some = pressure(*psi, fields_.cpu_some);
    leaf.cpu_full = pressure(*psi, fields_.cpu_full);
    leaf.memory_some = pressure(*psi, fields_.memory_some);
    leaf.memory_full = pressure(*psi, fields_.memory_full);
    leaf.io_some = pressure(*psi, fields_.io_some);
    leaf.io_full = pressure(*psi, fields_.io_full);
    table_.cgroups.push_back(std::move(leaf));
  }

  std::optional<Pressure> pressure(Kva group, const std::optional<StatePlace>& place) const {
    if (!place) return std::nullopt;
    const auto total = memory_.get<std::uint64_t>(group + place->total);
    const auto avg10 = memory_.get<std::uint64_t>(group + place->avg10);
    return total && avg10 ? std::optional(Pressure{*total, *avg10}) : std::nullopt;
  }

  const KernelMemory& memory_;
  const Fields& fields_;
  WalkBudget& budget_;
  AddressSet seen_;
  CgroupPsiTable table_;
};

}  // namespace

Result<CgroupPsiTable> cgroup_psi(const Kernel& kernel, std::string_view root, WalkBudget& budget) {
  const auto fields = resolve(kernel.types());
  if (!fields) return fail(fields.error());
  const auto hierarchy = kernel.symbol("cgrp_dfl_root");
  if (!hierarchy) return fail(hierarchy.error());
  PsiWalk walk(kernel.memory(), *fields, budget);
  const auto top = walk.descend(*hierarchy + fields->root_cgroup.offset, root);
  if (!top) return fail(top.error());
  return walk.run(*top, std::string(root));
}

}  // namespace floe::walkers
