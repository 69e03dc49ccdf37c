// bench_pages: the rows of pages.hpp.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "bench/freeze/pages.hpp"

int main(int count, char** arguments) {
  using namespace floe;
  using namespace floe::bench;
  Settings settings;
  std::string folder;
  CLI::App app("a real kernel's pages: hashing, storing, compressing, and what a history of them takes; a minute");
  add_options(app, settings);
  app.add_option("--snapshots", folder, "OUT/snapshots of a floe run --keep-snapshots")->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, count, arguments);
  Report report{.bench = "pages", .conditions = conditions()};
  const auto measured = page_rows(settings, folder, report);
  if (measured) return finish(report, settings);
  fmt::print(stderr, "bench_pages: {}\n", measured.error().message);
  return 1;
}
