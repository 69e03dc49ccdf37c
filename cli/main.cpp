// floe: finds the subcommand by name and runs it.
#include <execinfo.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>

#include "cli/command.hpp"
#include "cli/outer.hpp"
#include "cli/version.hpp"

namespace {

using namespace floe::cli;

void print_help() {
  fmt::print(
      "floe keeps the last minute of a kernel, and reads it when a sched_ext scheduler stalls.\n\nUsage: floe COMMAND [flags]   (floe "
      "COMMAND --help)\n\n");
  for (const Command& command : commands()) fmt::print("  {:<8} {}\n", command.name, command.summary);
  fmt::print("\n  floe --version [--json]\n\n{}\n", kExitCodes);
}

Verdict dispatch(std::vector<std::string> words) {
  const bool json = std::find(words.begin(), words.end(), "--json") != words.end();
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_help();
    return words.empty() ? Verdict{Exit::kUsage, "no command given"} : Verdict{};
  }
  if (words[0] == "--version" || words[0] == "-V") {
    if (json)
      fmt::print("{{\"name\":\"floe\",\"version\":\"{}\",\"compiler\":\"{}\"}}\n", kVersion, __VERSION__);
    else
      fmt::print("floe {}\n", kVersion);
    return {};
  }
  for (const Command& command : commands())
    if (words[0] == command.name) return command.run({words.begin() + 1, words.end()});
  return {Exit::kUsage, fmt::format("'{}' is no command of floe (see floe --help)", words[0])};
}

// A crash of floe itself is exit code 70 with the stack for the report; `addr2line -Cfe floe ADDRESS...` reads it.
void crashed(int) {
  constexpr char kMessage[] = "floe: bug: crashed; stack:\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  void* stack[64];
  ::backtrace_symbols_fd(stack, ::backtrace(stack, 64), STDERR_FILENO);
  ::_exit(static_cast<int>(Exit::kBug));
}

void install_crash_handler() {
  void* warm_up[1];
  ::backtrace(warm_up, 1);  // loads libgcc now: inside the handler it could not
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) std::signal(number, crashed);
}

}  // namespace

int main(int argc, char** argv) {
  if (::getpid() == 1 && std::strcmp(argv[0], "/init") == 0) outer_init();
  install_crash_handler();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away shows as EPIPE
  try {
    return finish(dispatch({argv + 1, argv + argc}));
  } catch (const std::exception& error) {
    return finish({Exit::kBug, std::string("bug: ") + error.what()});
  }
}
