#include "cli/command.hpp"
#include "cli/cli11.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>

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

std::optional<Verdict> parse(CLI::App& app, std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return Verdict{};
  } catch (const CLI::ParseError& error) {
    return Verdict{Exit::kUsage, std::string(error.what()) + " (see " + app.get_name() + " --help)"};
  }
  return {};
}

}  // namespace floe::cli
