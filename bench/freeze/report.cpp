#include "bench/freeze/report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace floe::bench {
namespace {

std::vector<double> column(const Row& row, double Sample::* field) {
  std::vector<double> values;
  for (const Sample& sample : row.samples) values.push_back(sample.*field);
  return values;
}

Spread ratios(const Row& row) {
  std::vector<double> values;
  for (const Sample& sample : row.samples)
    if (sample.baseline > 0) values.push_back(sample.pause / sample.baseline);
  return spread(std::move(values));
}

std::string json(const Spread& s) {
  return fmt::format(R"({{"median":{:.1f},"p10":{:.1f},"p90":{:.1f},"max":{:.1f}}})", s.median, s.p10, s.p90, s.max);
}

}  // namespace

Spread spread(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&values](double part) { return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)]; };
  return {at(0.5), at(0.1), at(0.9), values.back()};
}

std::string to_text(const std::vector<Row>& rows, const Conditions& conditions) {
  std::string text =
      fmt::format("{} cores, Linux {}, {} KVM, dirty pages by {}, {:.0f} s. Microseconds: median (p10-p90).\n", conditions.cores,
                  conditions.kernel, conditions.hardware ? "hardware" : "software", conditions.dirty_source, conditions.seconds);
  text += fmt::format("{:<44} {:>4} {:>22} {:>8} {:>20} {:>8} {:>6} {:>8} {:>6} {:>6} {:>8} {:>8}\n", "", "n", "pause", "max",
                      "kick to park", "capture", "thaw", "baseline", "ratio", "dirty", "residual", "alloc/op");
  for (const Row& row : rows) {
    const Spread pause = spread(column(row, &Sample::pause)), park = spread(column(row, &Sample::park));
    const auto median = [&row](double Sample::* field) { return spread(column(row, field)).median; };
    text += fmt::format(
        "{:<44} {:>4} {:>8.0f} ({:>5.0f}-{:>5.0f}) {:>8.0f} {:>6.0f} ({:>5.0f}-{:>5.0f}) {:>8.0f} {:>6.0f} {:>8.0f} {:>6.2f} {:>6.0f} "
        "{:>8.0f} {:>8.1f}\n",
        row.name, row.samples.size(), pause.median, pause.p10, pause.p90, pause.max, park.median, park.p10, park.p90,
        median(&Sample::capture), median(&Sample::thaw), median(&Sample::baseline), ratios(row).median, median(&Sample::dirty),
        median(&Sample::residual), median(&Sample::allocations));
  }
  return text;
}

std::string to_json(const std::vector<Row>& rows, const Conditions& conditions) {
  std::string text =
      fmt::format(R"({{"bench":"freeze","cores":{},"kernel":"{}","hardware_kvm":{},"dirty_source":"{}","seconds":{:.1f},"rows":[)",
                  conditions.cores, conditions.kernel, conditions.hardware, conditions.dirty_source, conditions.seconds);
  for (const Row& row : rows) {
    const auto of = [&row](double Sample::* field) { return json(spread(column(row, field))); };
    const Spread ratio = ratios(row);
    text += fmt::format(R"({}{{"name":"{}","samples":{},"pause_us":{},"kick_to_park_us":{},"capture_us":{},"thaw_us":{},"baseline_us":{},)"
                        R"("ratio":{{"median":{:.3f},"p10":{:.3f},"p90":{:.3f},"max":{:.3f}}},)"
                        R"("dirty_pages":{},"residual_pages":{},"allocations_per_op":{}}})",
                        &row == &rows.front() ? "" : ",", row.name, row.samples.size(), of(&Sample::pause), of(&Sample::park),
                        of(&Sample::capture), of(&Sample::thaw), of(&Sample::baseline), ratio.median, ratio.p10, ratio.p90, ratio.max,
                        of(&Sample::dirty), of(&Sample::residual), of(&Sample::allocations));
  }
  return text + "]}\n";
}

}  // namespace floe::bench
