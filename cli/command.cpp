#include "cli/command.hpp"

#include <algorithm>
#include <cstring>

namespace floe::cli {
namespace {

std::vector<Command>& registry() {
  static std::vector<Command> all;
  return all;
}

}  // namespace

bool register_command(Command command) {
  auto& all = registry();
  const auto by_name = [](const Command& a, const Command& b) { return std::strcmp(a.name, b.name) < 0; };
  all.insert(std::upper_bound(all.begin(), all.end(), command, by_name), command);
  return true;
}

const std::vector<Command>& commands() {
  return registry();
}

}  // namespace floe::cli
