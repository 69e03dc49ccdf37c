// bench_freeze: how long floe stops a guest, and for what. scene.hpp lists the scenes; bench/report/report.hpp says what a result is.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "bench/freeze/pages.hpp"
#include "bench/freeze/scene.hpp"

using namespace floe;
using namespace floe::bench;

namespace {

constexpr int kSkipped = 77;

const char* kvm_kind() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string word; info >> word;)
    if (word == "svm" || word == "vmx") return "hardware";
  return "software";
}

Result<Report> run(const Settings& settings, double seconds, const std::string& snapshots) {
  Scenes scenes;
  for (const auto& add : {add_rendezvous, add_guest_clock, add_pause, add_tracking, add_rate, add_storm, add_tlv})
    if (const auto added = add(settings, scenes); !added) return fail(added.error());
  const auto began = Clock::now();
  const auto elapsed = [began] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  for (unsigned round = 0; scenes.empty()        ? false
                           : settings.rounds > 0 ? round < settings.rounds
                                                 : round == 0 || elapsed() < seconds;
       ++round) {
    for (const auto& scene : scenes) {
      if (round % scene->every() != 0) continue;
      if (const auto measured = scene->round(); !measured) return fail(measured.error());
    }
  }
  Report report{.bench = "freeze", .conditions = conditions()};
  report.conditions.notes = {{"KVM", kvm_kind()}, {"seconds", fmt::format("{:.0f}", elapsed())}};
  for (const auto& scene : scenes) scene->add_rows(report);
  if (const auto added = page_rows(settings, snapshots, report); !added) return fail(added.error());
  return report;
}

}  // namespace

int main(int count, char** arguments) {
  Settings settings;
  double seconds = 0;
  std::string snapshots;
  CLI::App app("How long floe stops a guest, and for what; a full run takes two minutes");
  add_options(app, settings);
  app.add_option("--seconds", seconds, "how long rounds are repeated; 110, with --quick one of each")->check(CLI::Range(0.0, 3600.0));
  app.add_option("--snapshots", snapshots, "OUT/snapshots of a floe run --keep-snapshots, for the rows about a real kernel's pages")
      ->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, count, arguments);
  if (seconds == 0 && !settings.quick) seconds = 110;
  if (tiny::unavailable()) {
    fmt::print(stderr, "bench_freeze: skipped: {}\n", *tiny::unavailable());
    return kSkipped;
  }
  const auto report = run(settings, seconds, snapshots);
  if (report) return finish(*report, settings);
  fmt::print(stderr, "bench_freeze: {}\n", report.error().message);
  return 1;
}
