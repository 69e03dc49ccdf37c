// bench_tlv: the rows of tlv.hpp.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "bench/freeze/tlv.hpp"
#include "tests/tiny/guest.hpp"

int main(int count, char** arguments) {
  using namespace floe;
  using namespace floe::bench;
  Settings settings;
  CLI::App app("TLV frames a second from a guest to floe's engine; half a minute");
  add_options(app, settings);
  CLI11_PARSE(app, count, arguments);
  if (tiny::unavailable()) {
    fmt::print(stderr, "bench_tlv: skipped: {}\n", *tiny::unavailable());
    return 77;
  }
  Report report{.bench = "tlv", .conditions = conditions()};
  const auto measured = tlv_rows(settings, report);
  if (measured) return finish(report, settings);
  fmt::print(stderr, "bench_tlv: {}\n", measured.error().message);
  return 1;
}
