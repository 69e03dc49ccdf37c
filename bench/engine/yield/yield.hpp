// `ready` tasks that all can run, each giving way to the others again and again: what it costs to choose the next one.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/engine/bare.hpp"
#include "bench/engine/bench.hpp"

namespace floe::bench {

// Deadlines out of a table of so many random ones. Eight bits of a sequence choose.
inline constexpr unsigned kDeadlines = 256;
class Choice {
 public:
  unsigned next() {
    state_ = state_ * 1664525U + 1013904223U;
    return state_ >> 24;
  }

 private:
  std::uint32_t state_ = 1;
};
// Within the nearest 4 ms, where both calendars have their buckets.
std::vector<std::int64_t> random_offsets();

// 64 buckets of 64 us, first come first served inside, one bitmap. Time stands still.
class BareCalendar {
 public:
  bool empty() const { return occupied_ == 0; }
  void push(BarePromise& task, std::int64_t deadline) {
    const auto bucket = static_cast<unsigned>(deadline / 64'000) & 63;
    buckets_[bucket].push(task);
    occupied_ |= std::uint64_t{1} << bucket;
  }
  BarePromise& pop() {
    const auto bucket = static_cast<unsigned>(std::countr_zero(occupied_));
    BarePromise& task = buckets_[bucket].pop();
    if (buckets_[bucket].empty()) occupied_ &= occupied_ - 1;
    return task;
  }

 private:
  std::array<BareQueue, 64> buckets_;
  std::uint64_t occupied_ = 0;
};

// Each runs `turns` in all, and gives how many were taken.
std::uint64_t floe_yields(engine::loop& on, unsigned ready, std::uint64_t turns);
std::uint64_t bare_yields(unsigned ready, std::uint64_t turns);

// With deadlines all tasks become ready at once, each with another random one, run in that order, and wait for the last: over and over. (A
// task that chose its own next deadline would soon run alone, all others having drawn later ones.)
//
// Bursts of some 0.4 ms, for as long as the deadlines lie ahead: a burst's are set before it is charged.
class FloeDeadlineYields {
 public:
  FloeDeadlineYields(engine::loop& on, unsigned ready);
  void set_deadlines();
  std::uint64_t run(std::uint64_t turns);

  // Any of these has arrived; the last one makes all of them ready.
  void arrive(engine::detail::promise_base& task);

 private:
  engine::loop& on_;
  std::vector<std::int64_t> offsets_ = random_offsets();
  // A task has its deadline from the context it runs in.
  std::vector<std::unique_ptr<engine::context>> contexts_;
  std::vector<engine::detail::promise_base*> waiting_;
  std::size_t arrived_ = 0;
  Choice choice_;
};

class BareDeadlineYields {
 public:
  explicit BareDeadlineYields(unsigned ready) : waiting_(ready) {}
  std::uint64_t run(std::uint64_t turns);
  void arrive(BarePromise& task);

 private:
  std::vector<std::int64_t> offsets_ = random_offsets();
  BareCalendar calendar_;
  std::vector<BarePromise*> waiting_;
  std::size_t arrived_ = 0;
  Choice choice_;
};

}  // namespace floe::bench
