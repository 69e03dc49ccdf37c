// How far a walk may go. A guest decides how long its lists are and whether they end at all, so every walk spends from a
// budget of steps and, when it must be over by some instant, a deadline; when either is used up the walk stops where it is,
// hands back what it has and says so.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace floe::walkers {

class WalkBudget {
 public:
  using Clock = std::chrono::steady_clock;

  explicit WalkBudget(std::uint64_t max_steps = 1'000'000, std::optional<Clock::time_point> deadline = std::nullopt)
      : left_(max_steps), deadline_(deadline) {
    if (deadline_ && Clock::now() >= *deadline_) late_ = true;
  }

  // One step of a walk (one list node, one tree node). False when the walk has to stop now; then reason() says why.
  bool step() {
    if (late_ || left_ == 0) {
      refused_ = true;
      return false;
    }
    --left_;
    ++taken_;
    // Reading the clock costs as much as several steps, so it is read on every 64th only.
    if (deadline_ && taken_ % 64 == 0 && Clock::now() >= *deadline_) late_ = true;
    return true;
  }

  bool exhausted() const { return late_ || left_ == 0; }
  std::uint64_t taken() const { return taken_; }

  // Why a step was refused; empty while none was.
  std::string_view reason() const { return !refused_ ? "" : late_ ? "deadline reached" : "step limit reached"; }

 private:
  std::uint64_t left_;
  std::uint64_t taken_ = 0;
  std::optional<Clock::time_point> deadline_;
  bool late_ = false;
  bool refused_ = false;
};

}  // namespace floe::walkers
