// Rings of list_head, the kernel's doubly linked list.
//
// A ring that is whole comes back to its head. A node met twice has two nodes that link to it, of which its back link can name one only;
// so as long as every back link fits there is no loop, and nothing needs to be remembered. From the first that does not fit on (an update
// was under way, or memory is damaged) every node is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "walkers/address_set.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel_memory.hpp"

namespace floe::walkers {

enum class ListEnd { head, broken, loop, budget, stopped };

struct ListWalk {
  ListEnd end = ListEnd::head;
  Kva at;  // the node whose link did not lead on; for `broken` the link itself is `link`
  std::uint64_t link = 0;
  std::uint64_t nodes = 0;

  // A cycle, or more nodes than the walk may take: there may be more than was seen.
  bool truncated() const { return end == ListEnd::loop || end == ListEnd::budget; }

  // Why the ring was not followed to its end; nothing when it was. `list` names it.
  std::optional<std::string> problem(std::string_view list, const WalkBudget& budget) const;
};

// Calls visit(node) for each node but the head; it may return false to stop.
template <class Visit>
ListWalk walk_list(const KernelMemory& memory, Kva head, WalkBudget& budget, const Visit& visit) {
  struct Links {
    std::uint64_t next;
    std::uint64_t prev;
  };
  ListWalk walk;
  std::vector<std::uint64_t> seen;
  std::optional<AddressSet> set;
  walk.at = head;
  const auto first = memory.get<std::uint64_t>(head);
  if (!first) {
    walk.end = ListEnd::broken;
    walk.link = head.value;
    return walk;
  }
  for (Kva node(*first); node != head;) {
    if (!budget.step()) {
      walk.end = ListEnd::budget;
      return walk;
    }
    const auto links = node.value % 8 == 0 ? memory.get<Links>(node) : std::nullopt;
    if (!links) {
      walk.end = ListEnd::broken;
      walk.link = node.value;
      return walk;
    }
    if (!set && links->prev != walk.at.value) {
      set.emplace();
      for (const std::uint64_t one : seen) set->insert(one);
    }
    if (set ? !set->insert(node.value) : (seen.push_back(node.value), false)) {
      walk.end = ListEnd::loop;
      return walk;
    }
    ++walk.nodes;
    if (!visit(node)) {
      walk.end = ListEnd::stopped;
      return walk;
    }
    walk.at = node;
    node = Kva(links->next);
  }
  return walk;
}

}  // namespace floe::walkers
