// Which snapshots tell of a scheduler's failure, picked out while a run goes on: the one half-way to the watchdog's limit (early), the last
// with the scheduler in charge (before), and the one that showed its end (late). They stay readable whatever the ring evicts.
//
//   Idle --a wait reaches half of the watchdog's timeout--> TookEarly --the scheduler failed--> Done
//     \________________________________the scheduler failed______________________________/
//
// A wait that ends well leaves its early snapshot in place until another wait gets as long: the newest such wait is the one that may have
// become a failure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "freeze/coordinator.hpp"
#include "freeze/scheduler_watch.hpp"

namespace floe::freeze {

// From which wait on an early snapshot is taken; both in jiffies.
constexpr std::uint64_t half_way_to(std::uint64_t watchdog_timeout) {
  return watchdog_timeout / 2;
}

class FailureCapture {
 public:
  enum class State { kIdle, kTookEarly, kDone };
  using View = std::shared_ptr<const SnapshotView>;

  // After each look of `watch` at a snapshot, in their order.
  void looked(const View& view, const SchedulerWatch& watch);
  // A capture for which not all vCPUs parked: of kEarly, or of kLate when the words say that there was a failure and no snapshot shows it
  // so far; else it says nothing of one.
  void degraded(Cause cause, const std::shared_ptr<const Captured>& capture);

  // A latch of the guest says that this is the end. It is, until a snapshot shows one that the kernel tells of.
  void latched(const View& view) { latched_ = view; }

  State state() const;
  const View& early() const { return early_; }
  const View& before() const { return late_ || !latched_ ? before_ : late_; }
  const View& late() const { return late_ ? late_ : latched_; }
  // The first one after it: there may be more of the kernel's words in it.
  const View& after() const { return after_; }
  // What there is in the place of a late, or an early, snapshot that could not be taken.
  const std::shared_ptr<const Captured>& late_degraded() const { return late_degraded_; }
  const std::shared_ptr<const Captured>& early_degraded() const { return early_degraded_; }

  // Jiffies, of the early snapshot: the longest wait in it, and from which on one is taken; 0 without one.
  std::uint64_t early_age() const { return early_ ? early_age_ : 0; }
  std::uint64_t early_threshold() const { return early_ ? early_threshold_ : 0; }
  // The scheduler of the early snapshot is not there any more.
  bool early_left() const { return early_left_; }
  // Why there is no early snapshot.
  std::optional<std::string> early_skipped_reason() const;

 private:
  View early_, before_, late_, after_, latched_;
  std::shared_ptr<const Captured> early_degraded_, late_degraded_;
  bool done_ = false;
  bool waiting_long_ = false;  // in the last look, somebody was
  bool seen_in_charge_ = false;
  bool early_left_ = false;
  std::string early_name_;
  std::optional<std::uint64_t> threshold_;
  std::uint64_t peak_ = 0;
  std::uint64_t early_age_ = 0, early_threshold_ = 0;
};

}  // namespace floe::freeze
