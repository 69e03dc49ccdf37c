// Reports for people: the table, the promises, and the comparison with an older result.
#include <fmt/format.h>

#include "bench/report/report.hpp"

namespace floe::bench {
namespace {

// Three digits that count, whatever the size.
std::string number(double value) {
  const double size = value < 0 ? -value : value;
  return size >= 100 ? fmt::format("{:.0f}", value) : size >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string ratio_text(const Spread& of) {
  return fmt::format("{:.3f} ({:.3f}-{:.3f})", of.median, of.p10, of.p90);
}

std::string value_text(const Spread& of) {
  return fmt::format("{:>9} ({}-{})", number(of.median), number(of.p10), number(of.p90));
}

std::string contender_line(const Row& row, const Contender& one) {
  if (one.rounds.empty()) return fmt::format("  {:<28} absent: {}\n", one.name, one.absent);
  const bool is_baseline = one.name == row.baseline;
  const auto compared = is_baseline ? std::nullopt : ratio(row, one.name);
  std::string line = fmt::format("  {:<28} {:<28} {:<22}", one.name, value_text(spread(one.rounds)),
                                 compared      ? ratio_text(*compared)
                                 : is_baseline ? "baseline"
                                               : "");
  for (const auto& [name, value] : one.figures) line += fmt::format("  {} {:.4g}", name, value);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string promise_text(const Promise& one) {
  const auto holds = one.holds();
  if (!holds) return fmt::format("absent  {}: not measured", one.text);
  return fmt::format("{}  {}: {:.4g}", *holds ? "holds " : "MISSED", one.text, *one.value);
}

// Where one run's middle lies outside of the other's spread, both ways round.
bool apart(const Spread& before, const Spread& now) {
  const auto outside = [](double value, const Spread& of) { return value < of.p10 || value > of.p90; };
  return outside(now.median, before) && outside(before.median, now);
}

std::string verdict(const Spread& before, const Spread& now, bool more_is_better) {
  if (!apart(before, now)) return "";
  return (now.median > before.median) == more_is_better ? "  BETTER" : "  WORSE";
}

std::string compare_contender(const Row& old_row, const Row& row, const Contender& one) {
  const Contender* const old = old_row.find(one.name);
  if (old == nullptr || one.rounds.empty()) return fmt::format("  {:<28} only in the {} run\n", one.name, old == nullptr ? "new" : "old");
  const Spread was = spread(old->rounds), is = spread(one.rounds);
  std::string line = fmt::format("  {:<28} {:>9} -> {:<9}", one.name, number(was.median), number(is.median));
  const auto old_ratio = ratio(old_row, one.name), new_ratio = ratio(row, one.name);
  if (one.name == row.baseline) return line + " baseline\n";
  if (!old_ratio || !new_ratio) return line + verdict(was, is, false) + "\n";
  return line + fmt::format(" {} -> {}{}\n", ratio_text(*old_ratio), ratio_text(*new_ratio),
                            verdict(*old_ratio, *new_ratio, row.ratio_of == Ratio::throughput));
}

const Row* find_row(const Report& in, const std::string& name) {
  for (const Row& row : in.rows)
    if (row.name == name) return &row;
  return nullptr;
}

std::string conditions_text(const Report& report) {
  const Conditions& here = report.conditions;
  std::string text = fmt::format("{}: {} ({}), Linux {}, {} cores of {}, {}\n", report.bench, here.compiler, here.flags, here.kernel,
                                 here.cores, here.cpu, here.time);
  for (const auto& [name, value] : here.notes) text += fmt::format("{}: {}\n", name, value);
  return text;
}

}  // namespace

std::string to_text(const Report& report) {
  std::string text = conditions_text(report);
  text += "value: median of the rounds (p10-p90); ratio: median of same-round ratios to the baseline (p10-p90)\n";
  for (const Row& row : report.rows) {
    const char* const better = row.ratio_of == Ratio::throughput ? "throughput, more is better" : "cost, less is better";
    text +=
        fmt::format("\n{}  [{}{}{}]\n", row.name, row.unit, row.baseline.empty() ? "" : "; ratio of ", row.baseline.empty() ? "" : better);
    for (const Contender& one : row.contenders) text += contender_line(row, one);
    for (const Promise& one : row.promises) text += "  " + promise_text(one) + "\n";
  }
  return text;
}

std::string promises_text(const Report& report) {
  std::string text;
  unsigned all = 0, held = 0;
  for (const Row& row : report.rows) {
    for (const Promise& one : row.promises) {
      ++all;
      held += one.holds().value_or(false) ? 1 : 0;
      text += fmt::format("{:<48} {}\n", row.name, promise_text(one));
    }
  }
  return text + fmt::format("{}, {}: {} of {} promises hold\n", report.bench, report.conditions.compiler, held, all);
}

std::string compare(const Report& before, const Report& now) {
  std::string text = "old " + conditions_text(before) + "new " + conditions_text(now);
  for (const Row& row : now.rows) {
    const Row* const old = find_row(before, row.name);
    if (old == nullptr) {
      text += fmt::format("\n{}  not in the old run\n", row.name);
      continue;
    }
    text += fmt::format("\n{}  [{}]\n", row.name, row.unit);
    for (const Contender& one : row.contenders) text += compare_contender(*old, row, one);
  }
  for (const Row& row : before.rows)
    if (find_row(now, row.name) == nullptr) text += fmt::format("\n{}  only in the old run\n", row.name);
  return text;
}

}  // namespace floe::bench
