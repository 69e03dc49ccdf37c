#include "bench/report/report.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <thread>

namespace floe::bench {
namespace {

std::vector<double> pairwise(const Row& row, std::string_view contender, std::string_view to, double (*combine)(double to, double value)) {
  const Contender* const base = row.find(to);
  const Contender* const other = row.find(contender);
  std::vector<double> values;
  if (base == nullptr || other == nullptr) return values;
  for (std::size_t round = 0; round < std::min(base->rounds.size(), other->rounds.size()); ++round) {
    if (base->rounds[round] > 0 && other->rounds[round] > 0) values.push_back(combine(base->rounds[round], other->rounds[round]));
  }
  return values;
}

std::optional<Spread> if_any(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  return spread(std::move(values));
}

std::optional<double> median_of(const std::optional<Spread>& values) {
  if (!values) return std::nullopt;
  return values->median;
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&values](double part) { return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)]; };
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back(), at(0.1), at(0.9)};
}

std::optional<bool> Promise::holds() const {
  if (!value) return std::nullopt;
  return at_least ? *value >= bound : *value <= bound;
}

const Contender* Row::find(std::string_view contender) const {
  for (const Contender& one : contenders)
    if (one.name == contender && !one.rounds.empty()) return &one;
  return nullptr;
}

std::optional<Spread> ratio(const Row& row, std::string_view contender, std::string_view to) {
  if (row.ratio_of == Ratio::throughput)
    return if_any(pairwise(row, contender, to, [](double base, double value) { return base / value; }));
  return if_any(pairwise(row, contender, to, [](double base, double value) { return value / base; }));
}

std::optional<Spread> ratio(const Row& row, std::string_view contender) {
  return ratio(row, contender, row.baseline);
}

std::optional<Spread> difference(const Row& row, std::string_view contender) {
  return if_any(pairwise(row, contender, row.baseline, [](double base, double value) { return value - base; }));
}

Promise ratio_at_least(const Row& row, std::string_view contender, double bound, std::string_view to) {
  const std::string_view other = to.empty() ? std::string_view(row.baseline) : to;
  return {fmt::format("{} at least {:g} of {}", contender, bound, other), bound, true, median_of(ratio(row, contender, other))};
}

Promise ratio_at_most(const Row& row, std::string_view contender, double bound) {
  return {fmt::format("{} at most {:g} times {}", contender, bound, row.baseline), bound, false, median_of(ratio(row, contender))};
}

Promise difference_at_most(const Row& row, std::string_view contender, double bound) {
  return {fmt::format("{} at most {:g} {} more than {}", contender, bound, row.unit, row.baseline), bound, false,
          median_of(difference(row, contender))};
}

Promise median_at_most(const Row& row, std::string_view contender, double bound) {
  const Contender* const one = row.find(contender);
  Promise made{fmt::format("{} at most {:g} {}", contender, bound, row.unit), bound};
  if (one != nullptr) made.value = spread(one->rounds).median;
  return made;
}

Promise ahead_of(const Row& row, std::string_view contender, std::string_view rival) {
  const bool throughput = row.ratio_of == Ratio::throughput;
  return {fmt::format("{} ahead of {}", contender, rival), 1, throughput, median_of(ratio(row, contender, rival))};
}

Promise figure_at_most(const Row& row, std::string_view contender, std::string_view figure, double bound) {
  Promise made{fmt::format("{}: {} at most {:g}", contender, figure, bound), bound};
  if (const Contender* const one = row.find(contender)) {
    for (const auto& [name, value] : one->figures)
      if (name == figure) made.value = value;
  }
  return made;
}

Promise either(const Promise& one, const Promise& other) {
  Promise kept = other.holds().value_or(false) && !one.holds().value_or(false) ? other : one;
  kept.text = one.text + ", or " + other.text;
  return kept;
}

Conditions conditions() {
  Conditions here;
#ifdef __clang__
  here.compiler = fmt::format("clang++ {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  here.compiler = fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
  here.flags = FLOE_BENCH_FLAGS;
  utsname name{};
  if (::uname(&name) == 0) here.kernel = name.release;
  here.cpu = cpu_model();
  here.cores = std::thread::hardware_concurrency();
  here.time = utc_now();
  return here;
}

}  // namespace floe::bench
