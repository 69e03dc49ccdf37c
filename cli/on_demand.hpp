// Captures that somebody asks for by name while the run goes on: the operator, the guest, a scenario. Each is a snapshot at once, and its
// dump in the run's folder after the thaw.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/snapshot_series.hpp"

namespace floe::cli {

// What became of one. Exactly one of these for each that was asked for.
struct OnDemandCapture {
  std::string tag;
  freeze::Cause cause = freeze::Cause::kOperator;
  bool ok = false;
  std::string reason;  // where it is not ok
  std::string file;    // of the run's folder: the dump; of a degraded capture what there is
  std::uint64_t sequence = 0, pause_us = 0;
  std::shared_ptr<const freeze::dump::Report> report;  // ok
};

class OnDemand {
 public:
  explicit OnDemand(SnapshotSeries& series) : series_(series) {}

  // Answers in every case but that of a stopped caller. Two of one tag: the later one replaces the earlier.
  engine::task<OnDemandCapture> capture(freeze::Cause cause, std::string tag);

  // A line of the control socket, answered by a line.
  engine::task<std::string> answer(std::string request);

 private:
  SnapshotSeries& series_;
};

}  // namespace floe::cli
