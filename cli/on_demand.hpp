// Captures that somebody asks for by name while the run goes on: the operator, the guest, a scenario. Each is a snapshot at once, and its
// dump in the run's folder after the thaw.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/run_report.hpp"
#include "cli/snapshot_series.hpp"
#include "freeze/bridge/snapshot_bridge.hpp"

namespace floe::cli {

class OnDemand {
 public:
  // `callbacks`: of the bridge.
  OnDemand(SnapshotSeries& series, freeze::BridgeCallbacks callbacks);

  // Answers in every case but that of a stopped caller. Two of one tag: the later one replaces the earlier. Of a periodic one whatever came
  // of it is kept, with `when`.
  engine::task<OnDemandCapture> capture(freeze::Cause cause, std::string tag, std::optional<PeriodicMoment> when = std::nullopt);

  // The same for whoever stores the report himself; null where there is none.
  engine::task<freeze::SharedReport> capture_for(freeze::Cause cause, std::string tag);

  // What was captured, in order, with what happened to it; for whoever asks by name, too.
  freeze::SnapshotBridge& bridge() { return bridge_; }
  // The scenario's, for the captures that are asked for from now on.
  void set_step(std::uint16_t index) { step_ = index; }
  // Without their reports, in the order of their answers; the first 1,000 of the run, and how many there were.
  const std::vector<OnDemandCapture>& first() const { return first_; }
  std::uint64_t answered() const { return answered_; }

  // A line of the control socket, answered by a line.
  engine::task<std::string> answer(std::string request);

 private:
  // Of whom the bridge gets a report: of all, or those alone that the caller does not get.
  enum class Keep { kAll, kPlaceholders };
  engine::task<OnDemandCapture> take(freeze::Cause cause, std::string tag, std::optional<PeriodicMoment> when, Keep which);
  void count(const OnDemandCapture& made);
  void keep(const OnDemandCapture& made, const freeze::Take& take, std::optional<std::uint16_t> step);

  SnapshotSeries& series_;
  freeze::SnapshotBridge bridge_;
  std::optional<std::uint16_t> step_;
  std::vector<OnDemandCapture> first_;
  std::uint64_t answered_ = 0;
};

}  // namespace floe::cli
