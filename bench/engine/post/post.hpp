// From another thread to a task on the engine's. A target has
//   void post(std::uint64_t value)                   any thread
//   void receive(Inbox& into, bool awake)            engine's thread: until into.done(); awake: never sleeps meanwhile
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/bench.hpp"

namespace floe::bench {

// What arrived. Flood: the sum says that nothing was lost. Wakes: each value is the moment it was posted.
class Inbox {
 public:
  static Inbox flood(std::uint64_t count) { return {count * (count + 1) / 2, 0}; }
  static Inbox wakes(std::uint64_t count) { return {0, count}; }

  void take(std::uint64_t value) {
    if (wakes_ == 0) {
      sum_ += value;
    } else {
      latencies_.push_back(monotonic_nanos() - static_cast<double>(value));
      received_.store(latencies_.size(), std::memory_order_release);
    }
  }
  bool done() const { return wakes_ == 0 ? sum_ == expected_ : latencies_.size() == wakes_; }
  std::uint64_t received() const { return received_.load(std::memory_order_acquire); }  // any thread
  const std::vector<double>& latencies() const { return latencies_; }

 private:
  Inbox(std::uint64_t expected, std::uint64_t wakes) : expected_(expected), wakes_(wakes) { latencies_.reserve(wakes); }
  std::uint64_t expected_, wakes_;
  std::uint64_t sum_ = 0;
  std::vector<double> latencies_;
  std::atomic<std::uint64_t> received_{0};
};

class FloeTarget {
 public:
  void post(std::uint64_t value) { require(box_.post(value), "floe: a post was refused"); }
  void receive(Inbox& into, bool awake);

 private:
  std::unique_ptr<engine::loop> on_ = make_loop();
  engine::mailbox<std::uint64_t> box_{*on_};
};

// The least it takes: a lock-free stack, a flag that says whether the receiver sleeps, an eventfd for when it does. Its nodes are made
// before.
class BareTarget {
 public:
  explicit BareTarget(std::uint64_t most);
  ~BareTarget();
  void post(std::uint64_t value);
  void receive(Inbox& into, bool awake);

 private:
  struct Item {
    std::uint64_t value;
    Item* next;
  };
  alignas(64) std::atomic<Item*> top_{nullptr};
  alignas(64) std::atomic<bool> parked_{false};
  alignas(64) std::vector<Item> items_;
  std::size_t used_ = 0;
  int event_;
};

// One write per post, one read per wake: the kernel's own way. Values add up in the eventfd.
class EventfdTarget {
 public:
  EventfdTarget();
  ~EventfdTarget();
  void post(std::uint64_t value);
  void receive(Inbox& into, bool awake);

 private:
  int event_;
};

class AsioTarget {
 public:
  explicit AsioTarget(const AsioPeer& peer) : peer_(peer), context_(peer.post_open()) {}
  ~AsioTarget() { peer_.post_close(context_); }
  AsioTarget(const AsioTarget&) = delete;
  AsioTarget& operator=(const AsioTarget&) = delete;
  void post(std::uint64_t value) { peer_.post(context_, value); }
  void receive(Inbox& into, bool awake) { peer_.post_receive(context_, take, &into, awake); }

 private:
  static bool take(void* inbox, std::uint64_t value) {
    static_cast<Inbox*>(inbox)->take(value);
    return static_cast<Inbox*>(inbox)->done();
  }
  const AsioPeer& peer_;
  void* context_;
};

}  // namespace floe::bench
