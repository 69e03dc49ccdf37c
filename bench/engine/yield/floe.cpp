#include "bench/engine/yield/yield.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<void> give_way(std::uint64_t turns, std::uint64_t& taken) {
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    co_await engine::yield();
    ++taken;
  }
  co_return ok;
}

class Arrival {
 public:
  explicit Arrival(FloeDeadlineYields& at) : at_(at) {}
  bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> task) {
    at_.arrive(task.promise());
  }
  void await_resume() const noexcept {}

 private:
  FloeDeadlineYields& at_;
};

task<void> arrive_again(FloeDeadlineYields& at, std::uint64_t turns, std::uint64_t& taken) {
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    co_await Arrival(at);
    ++taken;
  }
  co_return ok;
}

task<void> plain(unsigned ready, std::uint64_t turns, std::uint64_t& taken) {
  engine::scope all("yields");
  for (unsigned index = 0; index < ready; ++index) all.spawn(give_way(turns / ready, taken), "yield");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

task<void> with_deadlines(FloeDeadlineYields& at, unsigned ready, std::uint64_t turns, std::uint64_t& taken) {
  engine::scope all("yields");
  for (unsigned index = 0; index < ready; ++index) all.spawn(arrive_again(at, turns / ready, taken), "yield");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

}  // namespace

std::uint64_t floe_yields(engine::loop& on, unsigned ready, std::uint64_t turns) {
  std::uint64_t taken = 0;
  require(on.run(plain(ready, turns, taken)).has_value(), "floe: a yield failed");
  return taken;
}

FloeDeadlineYields::FloeDeadlineYields(engine::loop& on, unsigned ready) : on_(on), contexts_(kDeadlines), waiting_(ready) {}

void FloeDeadlineYields::set_deadlines() {
  const engine::nanos now = on_.now_nanos();
  for (unsigned index = 0; index < kDeadlines; ++index)
    contexts_[index] = std::make_unique<engine::context>(on_, now + 500'000 + offsets_[index]);
}

void FloeDeadlineYields::arrive(engine::detail::promise_base& task) {
  waiting_[arrived_++] = &task;
  if (arrived_ != waiting_.size()) return;
  arrived_ = 0;
  for (engine::detail::promise_base* const one : waiting_) {
    one->ctx = contexts_[choice_.next()].get();
    on_.make_ready(*one);
  }
}

std::uint64_t FloeDeadlineYields::run(std::uint64_t turns) {
  std::uint64_t taken = 0;
  const auto ready = static_cast<unsigned>(waiting_.size());
  require(on_.run(with_deadlines(*this, ready, turns, taken)).has_value(), "floe: a yield failed");
  return taken;
}

}  // namespace floe::bench
