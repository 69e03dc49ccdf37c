// What a bench found: rows of figures and the conditions they were measured under, as a table, as JSON, and beside an older result.
//
// On a shared machine a figure alone means little. A row therefore holds contenders that took turns round by round in one run, and its
// result is the median, over the rounds, of a contender's value against the value of the row's baseline in the same round.
//
// All figures are costs: less is better, `best` is the smallest. low and high of a ratio are the 10th and 90th percentile of its rounds.
// What was not measured is absent, with a reason; it is never 0.
//
// JSON, schema 1. A file of several reports is {"schema":1,"runs":[report, ...]}.
//   {"schema":1, "bench":"engine",
//    "compiler":"g++ 12.2.0", "flags":"-O2 -DNDEBUG", "kernel":"6.18.44", "cpu":"AMD EPYC", "cores":2, "time":"2026-01-31T12:00:00Z",
//    "notes":{"ring":"defer abs-timer", ...},                         what else this bench found on the machine
//    "rows":[{"name":"nop, depth 32", "unit":"ns/op", "baseline":"raw io_uring",
//      "ratio_of":"throughput",                                       baseline/contender, more is better; "cost": contender/baseline
//      "contenders":[
//        {"name":"floe", "median":73.1, "best":71.0, "worst":80.2, "p10":71.2, "p90":76.0,
//         "ratio":{"median":0.98, "low":0.97, "high":1.00},           not of the baseline itself
//         "figures":{"allocations/op":0}, "rounds":[73.1, ...]},
//        {"name":"Asio epoll", "absent":"no Boost.Asio headers"}],
//      "promises":[{"text":"floe at least 0.97 of raw io_uring", "bound":0.97, "value":0.98, "holds":true}]}]}   value, holds: null when
//                                                                                                            it could not be measured
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace floe::bench {

struct Spread {
  double median = 0, best = 0, worst = 0, p10 = 0, p90 = 0;
};
Spread spread(std::vector<double> values);  // of at least one value

using Figures = std::vector<std::pair<std::string, double>>;

struct Contender {
  std::string name;
  std::vector<double> rounds = {};  // the n-th of every contender of a row belong together
  Figures figures = {};             // beside the value: allocations/op, operations/enter, ...
  std::string absent = {};          // why there are no rounds
};

// A bound that the row is accepted by.
struct Promise {
  std::string text;
  double bound = 0;
  bool at_least = false;  // else at most
  std::optional<double> value = {};

  std::optional<bool> holds() const;
};

enum class Ratio { cost, throughput };

struct Row {
  std::string name;
  std::string unit;
  std::string baseline;  // name of a contender; empty: nothing to compare with
  Ratio ratio_of = Ratio::cost;
  std::vector<Contender> contenders = {};
  std::vector<Promise> promises = {};

  const Contender* find(std::string_view contender) const;  // null also when it was not measured
};

// Of same-round values; nothing when either was not measured.
std::optional<Spread> ratio(const Row& row, std::string_view contender);
std::optional<Spread> ratio(const Row& row, std::string_view contender, std::string_view to);
std::optional<Spread> difference(const Row& row, std::string_view contender);  // contender - baseline

// Promises about medians. Add them once the rounds are in.
Promise ratio_at_least(const Row& row, std::string_view contender, double bound, std::string_view to = {});  // the baseline
Promise ratio_at_most(const Row& row, std::string_view contender, double bound);
Promise difference_at_most(const Row& row, std::string_view contender, double bound);
Promise median_at_most(const Row& row, std::string_view contender, double bound);
Promise ahead_of(const Row& row, std::string_view contender, std::string_view rival);  // its throughput is at least the rival's
Promise figure_at_most(const Row& row, std::string_view contender, std::string_view figure, double bound);
Promise either(const Promise& one, const Promise& other);  // it is enough that one holds

struct Conditions {
  std::string compiler, flags, kernel, cpu, time;
  unsigned cores = 0;
  std::vector<std::pair<std::string, std::string>> notes = {};
};
Conditions conditions();  // of this program, here and now

struct Report {
  std::string bench;
  Conditions conditions;
  std::vector<Row> rows = {};
};

std::string to_text(const Report& report);
std::string to_json(const Report& report);
// One line per promise, those that do not hold marked, and how many of how many hold.
std::string promises_text(const Report& report);

// A report from JSON text: the report itself, or out of a file of several the one of the same bench, preferably by the same compiler.
Result<Report> parse_report(std::string_view json, const Report& like);

// Old and new median of each contender and of its ratio. The ratio is what counts: it is marked where each median lies outside the other
// run's low..high. Values without a ratio are compared by their own p10..p90.
std::string compare(const Report& before, const Report& now);

}  // namespace floe::bench
