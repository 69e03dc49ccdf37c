// How a row of the bench is measured: baseline and engine take turns round by round in one process, each round's cost is CPU time of
// the thread divided by the operations done, and the ratio is the median of the same-round ratios. Wall time on a shared machine would
// measure the machine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace floe::bench {

double thread_cpu_nanos();
std::uint64_t allocations();  // calls of operator new since the start, all threads

struct sample {
  double nanos_per_operation = 0;
  double allocations_per_operation = 0;
  double pool_misses_per_operation = 0;
};

// Runs `body` (which does `operations`) on this thread and charges its CPU time and allocations to them.
sample charge(std::uint64_t operations, const std::function<void()>& body);

struct row {
  std::string name;
  std::vector<sample> baseline, engine;
};

struct summary {
  double median = 0, low = 0, high = 0;
};
summary summarise(std::vector<double> values);

struct result {
  std::string name;
  summary baseline_nanos, engine_nanos;
  summary ratio;  // baseline cost / engine cost per round: throughput of the engine relative to the baseline, 1 is equal
  double allocations = 0, pool_misses = 0;  // worst round of the engine but the first, which warms up
};
result evaluate(const row& measured);

std::string to_text(const std::vector<result>& results);
std::string to_json(const std::vector<result>& results, const std::string& features);

}  // namespace floe::bench
