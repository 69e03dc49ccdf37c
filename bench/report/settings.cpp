#include "bench/report/settings.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/atomic_file.hpp"
#include "base/file.hpp"

namespace floe::bench {

void add_options(CLI::App& app, Settings& into) {
  app.add_flag("--quick", into.quick, "small scale, few rounds: that it runs, not how fast");
  app.add_flag("--json", into.json, "JSON on stdout instead of the table");
  app.add_option("--rounds", into.rounds, "rounds of each contender")->check(CLI::Range(1, 1000));
  app.add_option("--only", into.only, "rows whose name contains this text");
  app.add_option("--compare", into.compare, "an older result (JSON) to stand beside this one")->check(CLI::ExistingFile);
  app.add_option("--out", into.out, "write the JSON to this file too");
}

int finish(const Report& report, const Settings& settings) {
  if (settings.json) {
    fmt::print("{}", to_json(report));
  } else {
    fmt::print("{}\n{}", to_text(report), promises_text(report));
  }
  if (!settings.out.empty()) {
    const std::string json = to_json(report);
    if (const auto written = write_file(settings.out, as_bytes(json)); !written) {
      fmt::print(stderr, "{}\n", written.error().message);
      return 1;
    }
  }
  if (settings.compare.empty()) return 0;
  const auto text = read_text(settings.compare);
  auto before = text ? parse_report(*text, report) : fail(text.error());
  if (!before) {
    fmt::print(stderr, "--compare {}: {}\n", settings.compare, before.error().message);
    return 2;
  }
  std::erase_if(before->rows, [&settings](const Row& row) { return !settings.wants(row.name); });
  fmt::print(settings.json ? stderr : stdout, "\n{}", compare(*before, report));
  return 0;
}

}  // namespace floe::bench
