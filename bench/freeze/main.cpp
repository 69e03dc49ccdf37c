// bench_freeze: how long floe stops a guest, and for what.
//
// Rounds of everything take turns until the time is over, so that a busy second of the machine hits every row alike. What a figure
// means is in report.hpp.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "bench/freeze/scenes.hpp"

using namespace floe;
using namespace floe::bench;
using vmm::Clock;

namespace {

constexpr int kSkipped = 77;

struct Settings {
  bool json = false;
  double seconds = 90;
};

Settings parse(int count, char** arguments) {
  Settings settings;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--json") == 0) {
      settings.json = true;
    } else if (std::strcmp(arguments[i], "--quick") == 0) {
      settings.seconds = 15;
    } else if (std::strcmp(arguments[i], "--seconds") == 0 && i + 1 < count) {
      settings.seconds = std::atof(arguments[++i]);
    } else {
      fmt::print(stderr, "usage: bench_freeze [--json] [--quick] [--seconds N]\n");
      std::exit(2);
    }
  }
  return settings;
}

Conditions conditions() {
  Conditions here;
  here.cores = std::thread::hardware_concurrency();
  utsname name{};
  if (::uname(&name) == 0) here.kernel = name.release;
  std::ifstream info("/proc/cpuinfo");
  for (std::string word; info >> word && !here.hardware;) here.hardware = word == "svm" || word == "vmx";
  return here;
}

Result<> run(const Settings& settings) {
  const auto began = Clock::now();
  const auto elapsed = [began] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  std::vector<Rendezvous> rendezvous;
  for (const unsigned cpus : {1u, 2u, 4u}) {
    auto made = Rendezvous::create(cpus);
    if (!made) return fail(std::move(made.error()));
    rendezvous.push_back(std::move(*made));
  }
  std::vector<std::unique_ptr<Pause>> pauses;
  for (const bool precopy : {true, false}) {
    auto made = Pause::create(precopy);
    if (!made) return fail(std::move(made.error()));
    pauses.push_back(std::move(*made));
  }
  do {
    for (auto& scene : rendezvous)
      for (const bool halted : {false, true}) scene.round(halted);
    for (auto& scene : pauses) {
      const auto measured = scene->round();
      if (!measured) return measured;
    }
  } while (elapsed() < settings.seconds);

  std::vector<Row> rows;
  for (const auto& scene : rendezvous) rows.push_back(scene.spinning());
  for (const auto& scene : rendezvous) rows.push_back(scene.halted());
  for (const auto& scene : pauses) rows.insert(rows.end(), scene->rows().begin(), scene->rows().end());
  Conditions here = conditions();
  here.dirty_source = pauses.front()->dirty_source();
  here.seconds = elapsed();
  fmt::print("{}", settings.json ? to_json(rows, here) : to_text(rows, here));
  return {};
}

}  // namespace

int main(int count, char** arguments) {
  const Settings settings = parse(count, arguments);
  if (tiny::unavailable()) {
    fmt::print(stderr, "bench_freeze: skipped: {}\n", *tiny::unavailable());
    return kSkipped;
  }
  const auto ran = run(settings);
  if (ran) return 0;
  fmt::print(stderr, "bench_freeze: {}\n", ran.error().message);
  return 1;
}
