#include <algorithm>
#include <cstring>
#include <vector>

#include "bench/walk/peers.hpp"
#include "bench/walk/rows.hpp"
#include "walkers/btf_check.hpp"

namespace floe::bench {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{64} << 20;

Result<std::vector<std::byte>> btf_of(const walkers::Kernel& kernel) {
  const auto start = kernel.symbol("__start_BTF");
  const auto stop = kernel.symbol("__stop_BTF");
  if (!start || !stop || stop->value <= start->value) return fail("the kernel has no BTF");
  std::vector<std::byte> blob(std::min<std::uint64_t>(*stop - *start, walkers::Types::kMaxBytes));
  if (!kernel.memory().read_all(*start, blob)) return fail("the kernel's BTF is unreadable");
  return blob;
}

Result<double> open_ms(const Guest& guest, const walkers::Kernel* previous, walkers::OpenTimes& times) {
  auto how = guest.how;
  how.previous = previous;
  const double began = cpu_seconds();
  const auto kernel = walkers::Kernel::open(*guest.flat, how);
  const double took = (cpu_seconds() - began) * 1e3;
  if (!kernel) return fail(kernel.error());
  if (kernel->times().tables_reused != (previous != nullptr)) return fail("the tables of the kernel opened before were not taken over");
  times = kernel->times();
  return took;
}

// By the clock on the wall, as everything in OpenTimes.
Figures parts_of(const walkers::OpenTimes& times) {
  const auto ms = [](auto part) { return std::chrono::duration<double, std::milli>(part).count(); };
  return {{"wall ms", ms(times.total)},
          {"VMCOREINFO ms", ms(times.scan)},
          {"kallsyms ms", ms(times.symbols)},
          {"BTF ms", ms(times.types)},
          {"proof ms", ms(times.validate)}};
}

Result<> bootstrap(const Settings& settings, const Guest& big, Report& report) {
  const auto first = walkers::Kernel::open(*big.flat, big.how);
  if (!first) return fail(first.error());
  const auto blob = btf_of(*first);
  if (!blob) return fail(blob.error());
  Row row{.name = "kernel.open", .unit = "ms", .baseline = "libbpf btf__new", .contenders = {}, .promises = {}};
  Contender cold{.name = "cold"}, again{.name = "tables of an earlier one"}, libbpf{.name = "libbpf btf__new"};
  walkers::OpenTimes times, quickest;
  for (unsigned round = 0; round < rounds_of(settings, 20); ++round) {
    const auto parsed = parse_btf(*blob);
    if (!parsed) return fail(parsed.error());
    libbpf.rounds.push_back(*parsed);
    const auto reused = open_ms(big, &*first, times);
    if (!reused) return fail(reused.error());
    again.rounds.push_back(*reused);
    const auto opened = open_ms(big, nullptr, times);
    if (!opened) return fail(opened.error());
    cold.rounds.push_back(*opened);
    if (quickest.total.count() == 0 || times.total < quickest.total) quickest = times;
  }
  cold.figures = parts_of(quickest);
  libbpf.figures = {{"MiB of BTF", static_cast<double>(blob->size()) / 1048576}};
  row.contenders = {libbpf, cold, again};
  row.promises = {{"cold at best at most 60 ms", 60, false, spread(cold.rounds).best},
                  median_at_most(row, "cold", 80),
                  median_at_most(row, "tables of an earlier one", 20)};
  report.rows.push_back(std::move(row));
  return {};
}

void copying(const Settings& settings, Report& report) {
  std::vector<std::byte> from(kCopyBytes, std::byte{1}), into(kCopyBytes);
  Contender copy{.name = "memcpy"};
  for (unsigned round = 0; round < rounds_of(settings, 20); ++round) {
    const double began = cpu_seconds();
    std::memcpy(into.data(), from.data(), kCopyBytes);
    copy.rounds.push_back((cpu_seconds() - began) * 1e3);
    from[round % kCopyBytes] = into[kCopyBytes - 1 - round];
  }
  copy.figures = {{"GB/s", static_cast<double>(kCopyBytes) / 1e6 / spread(copy.rounds).median}};
  report.rows.push_back({.name = "memory.copy, 64 MiB", .unit = "ms", .baseline = "", .contenders = {copy}, .promises = {}});
}

}  // namespace

Result<> kernel_rows(const Settings& settings, const Guest& big, Report& report) {
  walkers::silence_libbpf();
  if (settings.wants("memory.copy, 64 MiB")) copying(settings, report);
  return settings.wants("kernel.open") ? bootstrap(settings, big, report) : Result<>();
}

}  // namespace floe::bench
