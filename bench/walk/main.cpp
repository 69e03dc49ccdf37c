// bench_walk: how fast floe reads a kernel out of a memory. rows.hpp lists the rows; bench/report/report.hpp says what a result is.
//
// The memories are kept snapshots that bench/walk/make-memories makes; bench/walk/linux makes them and runs this. Unless a contender's name
// says otherwise their pages have been decompressed into flat memory before: what is measured is the walk.
#include <fmt/format.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>

#include "bench/walk/rows.hpp"

using namespace floe;
using namespace floe::bench;

namespace {

constexpr int kSkipped = 77;

Result<Report> run(const Settings& settings, const std::string& memories) {
  const auto big = load_big(memories + "/big");
  if (!big) return fail(big.error());
  const auto stalled = load_stalled(memories + "/stall");
  if (!stalled) return fail(stalled.error());
  Report report{.bench = "walk", .conditions = conditions()};
  double load = 0;
  ::getloadavg(&load, 1);
  report.conditions.notes = {{"load", fmt::format("{:.1f}", load)},
                             {"populated MiB", fmt::format("{}", big->flat->populated_bytes() >> 20)}};
  if (const auto done = kernel_rows(settings, *big, report); !done) return fail(done.error());
  if (const auto done = walk_rows(settings, *big, *stalled, report); !done) return fail(done.error());
  if (const auto done = hash_rows(settings, *big, report); !done) return fail(done.error());
  if (const auto done = ring_rows(settings, *big, report); !done) return fail(done.error());
  return report;
}

}  // namespace

int main(int count, char** arguments) {
  Settings settings;
  std::string memories;
  CLI::App app("How fast floe reads a kernel out of a memory");
  add_options(app, settings);
  app.add_option("--memories", memories, "what bench/walk/make-memories has made")->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, count, arguments);
  if (memories.empty()) {
    fmt::print(stderr, "bench_walk: skipped: no --memories; bench/walk/linux makes them and runs this\n");
    return kSkipped;
  }
  const auto report = run(settings, memories);
  if (report) return finish(*report, settings);
  fmt::print(stderr, "bench_walk: {}\n", report.error().message);
  return 1;
}
