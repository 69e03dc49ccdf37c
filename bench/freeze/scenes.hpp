// The two things that are measured, each on tiny guests of its own. A guest that is not measured at the moment halts, so that it costs the
// others nothing.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "bench/freeze/report.hpp"
#include "tests/tiny/recorder.hpp"

namespace floe::bench {

// Empty freezes of a guest with 1, 2 or 4 vCPUs that all spin or all halt.
class Rendezvous {
 public:
  static Result<Rendezvous> create(unsigned cpus);
  // Some freezes with the guest in this mode.
  void round(bool halted);
  const Row& spinning() const { return spinning_; }
  const Row& halted() const { return halted_; }

 private:
  std::unique_ptr<tiny::Guest> guest_;
  Row spinning_, halted_;
};

// Snapshots of a guest with 2 vCPUs, one of which dirties pages evenly while the other halts: with spinning vCPUs on all of a small
// machine's cores the scheduler would be measured.
class Pause {
 public:
  static constexpr std::uint64_t kDirtyPages[] = {0, 500, 2000, 10'000};

  static Result<std::unique_ptr<Pause>> create(bool precopy);
  // One snapshot of each number of dirty pages.
  Result<> round();
  const std::vector<Row>& rows() const { return rows_; }
  const char* dirty_source() const { return recorder_->source(); }

 private:
  Pause() = default;
  void calibrate();
  void dirty(std::uint64_t pages);
  Result<> measure(std::uint64_t pages, Row& row);

  std::unique_ptr<tiny::Guest> guest_;
  std::unique_ptr<tiny::Recorder> recorder_;
  double turns_per_second_ = 0;
  std::vector<Row> rows_;
};

}  // namespace floe::bench
