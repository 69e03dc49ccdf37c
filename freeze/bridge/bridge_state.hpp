// What the copies of a SnapshotBridge share. Private to freeze/bridge.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "freeze/bridge/bounded_log.hpp"
#include "freeze/bridge/snapshot_bridge.hpp"

namespace floe::freeze {

struct SnapshotBridge::State {
  struct Stored {
    SharedReport report;
    CaptureFacts facts;
  };

  static constexpr std::size_t kMaxRecords = 1024;  // of a log
  static constexpr std::size_t kMaxRecordBytes = std::size_t{16} << 20;

  explicit State(BridgeCallbacks given) : callbacks(std::move(given)) {}

  const BridgeCallbacks callbacks;
  std::atomic<unsigned> watches{0};

  mutable std::mutex mutex;  // of what follows
  // A report and its facts are one entry, so that none can outlive the other.
  std::unordered_map<std::string, Stored> reports;
  std::deque<std::string> order;  // their tags, oldest first
  std::deque<BridgeEvent> events;
  std::uint64_t events_dropped = 0;
  BoundedLog<CgroupProcs> cgroups{kMaxRecords, kMaxRecordBytes};
  BoundedLog<TaggedReply> kernel_ops{kMaxRecords, kMaxRecordBytes};

  // Notes events while the lock is held, and logs them when it is not any more.
  class Events {
   public:
    explicit Events(State& state) : state_(state), lock_(state.mutex) {}
    ~Events() {
      lock_.unlock();
      for (const auto& event : fresh_) state_.log(event);
    }
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;

    void add(BridgeEvent event) {
      state_.events.push_back(event);
      if (state_.events.size() > kMaxStoredEvents) {
        state_.events.pop_front();
        ++state_.events_dropped;
      }
      fresh_.push_back(std::move(event));
    }

   private:
    State& state_;
    std::unique_lock<std::mutex> lock_;
    std::vector<BridgeEvent> fresh_;
  };

  void log(const BridgeEvent& event) const;

  // Drops the oldest until there are no more than may be.
  void keep_within_cap(const std::string& newest, Events& noted);

  // Calls take(tag, entry) for all in order, and forgets them.
  template <class Take>
  void take_ordered(std::string_view variant, Events& noted, const Take& take) {
    for (const auto& tag : order) {
      const auto found = reports.find(tag);
      if (found == reports.end()) continue;
      take(tag, found->second);
      reports.erase(found);
    }
    for (auto& [tag, stored] : reports) {
      noted.add(DrainOrderingInvariantViolation{tag, variant});
      take(tag, stored);
    }
    order.clear();
    reports.clear();
  }
};

}  // namespace floe::freeze
