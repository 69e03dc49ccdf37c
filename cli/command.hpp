// A subcommand of floe: one file holding its flags, its help and what it does. It registers itself; main() finds it by name.
#pragma once

#include <string>
#include <vector>

#include "cli/exit.hpp"

namespace floe::cli {

struct Command {
  const char* name;
  const char* summary;                             // one line
  Verdict (*run)(std::vector<std::string> words);  // the words behind the name
};

bool register_command(Command command);
const std::vector<Command>& commands();  // by name

inline constexpr const char* kExitCodes =
    "Exit codes: 0 pass (also: the duration is over)  1 a check or COMMAND failed  2 usage, or a bad input  3 the scheduler failed\n"
    "  4 skipped  5 stall  6 guest panic  7 no hello in time  8 another deadline  70 a bug of floe  71 this host cannot\n"
    "  130/143 stopped by SIGINT/SIGTERM. The reason is the last line on stderr.";

}  // namespace floe::cli
