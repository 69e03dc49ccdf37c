// Where vCPUs are stopped and let go again: one word that says whether the guest runs, and the counts of those who have come.
//
// The epoch is even while the guest runs and odd while it is frozen. A freeze has two lines that every vCPU crosses once: *stopped* (it
// writes no guest memory any more, nor does a device on its behalf) and *parked* (all of its state is captured). Whoever crosses a line
// last wakes those who wait for it; nobody else makes a system call. A vCPU that comes late, in an epoch that was given up, counts for
// nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace floe::vmm {

using Clock = std::chrono::steady_clock;

// A line that a number of vCPUs cross in one epoch. Safe from any thread; open() belongs to the coordinator.
class Line {
 public:
  // Nobody has crossed in `epoch` yet, `vcpus` are expected.
  void open(std::uint32_t epoch, unsigned vcpus);
  void cross(std::uint32_t epoch);
  // All have crossed, or nobody waits for the rest any more.
  bool over(std::uint32_t epoch) const { return reached(over_.load(std::memory_order_acquire), epoch); }
  // Those who wait in this epoch go on, whoever is missing.
  void end(std::uint32_t epoch);

  // Sleeps until over(), at most until `deadline`. True when it is over.
  bool wait(std::uint32_t epoch, Clock::time_point deadline) const;

 private:
  static bool reached(std::uint32_t over, std::uint32_t epoch) { return static_cast<std::int32_t>(over - epoch) >= 0; }

  std::atomic<std::uint64_t> state_{0};  // epoch << 32 | vCPUs that have not crossed
  std::atomic<std::uint32_t> over_{0};   // the newest epoch in which it is over: what sleepers sleep on
  mutable std::atomic<std::uint32_t> sleepers_{0};
};

class Gate {
 public:
  std::uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  static bool frozen(std::uint32_t epoch) { return (epoch & 1) != 0; }
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  // Coordinator, one at a time: the new epoch. open() wakes all that sleep at the gate, by one futex.
  std::uint32_t close(unsigned vcpus);
  std::uint32_t open();
  // For good: nobody waits any more.
  void stop();

  // vCPU: waits until the epoch is no longer `seen`, or the machine stops.
  void wait_while(std::uint32_t seen) const;

  // Whether vCPUs capture their state; without, what a freeze costs apart from that can be measured.
  void set_capture(bool capture) { capture_.store(capture, std::memory_order_relaxed); }
  bool capture() const { return capture_.load(std::memory_order_relaxed); }

  Line& stopped() { return stopped_; }
  Line& parked() { return parked_; }

 private:
  void give_up(std::uint32_t epoch);

  std::atomic<std::uint32_t> epoch_{0};
  mutable std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<bool> stopping_{false}, capture_{true};
  Line stopped_, parked_;
};

}  // namespace floe::vmm
