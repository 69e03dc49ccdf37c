#include "cli/report_of.hpp"

#include <fstream>

#include "base/file.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/vcpu_perf.hpp"
#include "walkers/bpf/casts.hpp"

namespace floe::cli {
namespace {

constexpr std::uint64_t kMostDumpBytes = std::uint64_t{4} << 30;
constexpr auto kOpenLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

}  // namespace

Result<freeze::dump::Report> report_of(const MemorySource& source, const ReportOptions& options) {
  walkers::bpf::CastAnalysis casts;
  if (!options.scheduler.empty()) {
    const auto file = read_file(options.scheduler);
    if (!file) return fail(file.error());
    casts = walkers::bpf::CastAnalysis::of_file(*file);
  }
  walkers::OpenOptions how;
  how.deadline = std::chrono::steady_clock::now() + kOpenLimit;
  const auto kernel = source.open_kernel(how);
  if (!kernel) return fail(kernel.error());
  freeze::dump::CollectOptions collect;
  collect.deadline = options.deadline;
  collect.max_entries = options.max_entries;
  collect.cpus = source.cpus();
  collect.casts = &casts;
  if (source.realtime_ns() != 0) collect.capture.realtime_ns = source.realtime_ns();
  if (const auto* const snapshot = source.snapshot()) {
    collect.capture.source = "snapshot";
    collect.capture.sequence = snapshot->meta().sequence;
    collect.capture.tick = snapshot->meta().tick;
    collect.capture.guest_clock_ns = snapshot->meta().guest_clock_ns;
    auto perf = freeze::dump::vcpu_perf_of(snapshot->machine());
    collect.vcpu_perf = std::move(perf.by_vcpu);
    collect.vcpu_perf_unavailable = std::move(perf.unavailable);
  } else {
    collect.capture.source = source.live() ? "kcore" : "core";
    collect.vcpu_perf_unavailable = "counted in a run only";
  }
  auto report = freeze::dump::collect(*kernel, collect);
  for (const std::string& problem : source.problems()) report.reasons.push_back({"memory", problem});
  return report;
}

bool looks_like_dump(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char first = 0;
  return file >> first && first == '{';
}

Result<std::string> read_dump(const std::string& path) {
  return read_text(path, kMostDumpBytes);
}

}  // namespace floe::cli
