// What bench_freeze measures and how it prints it.
//
// Every figure stands beside a baseline of the same run: an empty freeze (kick all vCPUs, wait until they are parked, let them go) made on
// the same guest, doing the same, just before. On a shared machine only such pairs can be compared with each other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace floe::bench {

std::uint64_t allocations();  // calls of operator new since the start, all threads; 0 for ever in a debug build

// Microseconds, but for the counts.
struct Sample {
  double pause = 0;  // first kick to the last vCPU released
  double park = 0, capture = 0, thaw = 0;
  double baseline = 0;  // pause of the empty freeze
  double dirty = 0, residual = 0;
  double allocations = 0;  // rendezvous: from kick to thaw; snapshots: from the first pre-copy pass to the ring
};

struct Row {
  std::string name;
  std::vector<Sample> samples;
};

struct Spread {
  double median = 0, p10 = 0, p90 = 0, max = 0;
};
Spread spread(std::vector<double> values);

struct Conditions {
  unsigned cores = 0;
  std::string kernel;     // of the host
  bool hardware = false;  // svm or vmx
  std::string dirty_source;
  double seconds = 0;
};

std::string to_text(const std::vector<Row>& rows, const Conditions& conditions);
std::string to_json(const std::vector<Row>& rows, const Conditions& conditions);

}  // namespace floe::bench
