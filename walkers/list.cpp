#include "walkers/list.hpp"

#include <fmt/format.h>

namespace floe::walkers {

std::optional<std::string> ListWalk::problem(std::string_view list, const WalkBudget& budget) const {
  switch (end) {
    case ListEnd::broken:
      return fmt::format("{}: the node at {:#x} links to {:#x}, which is no list node", list, at.value, link);
    case ListEnd::loop:
      return fmt::format("{}: comes back to a node after {:#x} instead of its head", list, at.value);
    case ListEnd::budget:
      return fmt::format("{}: stopped after {} nodes: {}", list, nodes, budget.reason());
    default:
      return std::nullopt;
  }
}

}  // namespace floe::walkers
