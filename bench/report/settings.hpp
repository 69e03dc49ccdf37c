// The command line that all benches share, and what they do with it at the end.
#pragma once

#include <string>
#include <string_view>

#include "bench/report/report.hpp"

namespace CLI {
class App;
}

namespace floe::bench {

struct Settings {
  bool quick = false;   // small scale, few rounds: shows that everything runs, not how fast
  bool json = false;    // on stdout, instead of the table
  unsigned rounds = 0;  // 0: the bench's own number
  std::string only;     // rows whose name contains this
  std::string compare;  // an older result
  std::string out;      // JSON also to this file

  bool wants(std::string_view row) const { return row.find(only) != std::string_view::npos; }
};

// --quick --json --rounds N --only TEXT --compare OLD.json --out FILE. A bench may add its own.
void add_options(CLI::App& app, Settings& into);

// Prints table and promises, or JSON, and the comparison if one was asked for (to stderr beside JSON). Gives the exit code: 0, or 2 when
// the older result cannot be read, or 1 when the file cannot be written. A promise that does not hold is no error.
int finish(const Report& report, const Settings& settings);

}  // namespace floe::bench
