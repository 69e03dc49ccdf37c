// Timers that never fire, which is what most timeouts do: set one, cancel one.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "bench/engine/bench.hpp"

namespace floe::bench {

// Which live timer is cancelled next and when the one set in its place is due. The same sequence for all.
class Churn {
 public:
  explicit Churn(std::size_t live) : live_(live) {}
  std::size_t victim() { return static_cast<std::size_t>((static_cast<unsigned __int128>(next()) * live_) >> 64); }
  std::int64_t due() { return static_cast<std::int64_t>(next() >> 24); }

 private:
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::size_t live_;
  std::uint64_t state_ = 88172645463325252ULL;
};

class FloeTimers {
 public:
  FloeTimers(engine::loop& on, std::size_t live);
  ~FloeTimers();
  void churn(std::uint64_t times);

 private:
  struct Timer : engine::detail::timer_node {
    Timer() : timer_node([](timer_node&) { require(false, "floe: a timer fired early"); }) {}
  };
  engine::loop& on_;
  std::vector<Timer> timers_;
  Churn choice_;
  engine::nanos far_;
};

// A 4-ary heap with the keys inside and the places in the timers. Equal times come in any order.
class BareTimers {
 public:
  explicit BareTimers(std::size_t live);
  void churn(std::uint64_t times);

 private:
  struct Timer {
    void (*fire)(Timer&) = nullptr;
    std::uint32_t place = 0;
  };
  struct Entry {
    std::int64_t due;
    Timer* timer;
  };
  void insert(Timer& timer, std::int64_t due);
  void remove(Timer& timer);
  void place(std::size_t index, Entry what);
  void up(std::size_t index, Entry what);
  void down(std::size_t index, Entry what);

  std::vector<Entry> heap_;
  std::vector<Timer> timers_;
  Churn choice_;
};

// A timeout around work that ends at once, as a user writes it.
void floe_timeouts(engine::loop& on, std::uint64_t count);

}  // namespace floe::bench
