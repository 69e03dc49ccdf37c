#include <random>

#include "bench/engine/yield/yield.hpp"

namespace floe::bench {
namespace {

struct Yield {
  explicit Yield(BareQueue& queue) : ready(queue) {}
  BareQueue& ready;
  bool await_ready() const noexcept { return false; }
  void await_suspend(BareTask::Handle task) { ready.push(task.promise()); }
  void await_resume() const noexcept {}
};

struct Arrival {
  explicit Arrival(BareDeadlineYields& meeting) : at(meeting) {}
  BareDeadlineYields& at;
  bool await_ready() const noexcept { return false; }
  void await_suspend(BareTask::Handle task) { at.arrive(task.promise()); }
  void await_resume() const noexcept {}
};

BareTask give_way(BareQueue& ready, std::uint64_t turns, std::uint64_t& taken) {
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    co_await Yield(ready);
    ++taken;
  }
  co_return 0;
}

BareTask arrive_again(BareDeadlineYields& at, std::uint64_t turns, std::uint64_t& taken) {
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    co_await Arrival(at);
    ++taken;
  }
  co_return 0;
}

template <class Queue>
void run_all(Queue& ready) {
  while (!ready.empty()) {
    const auto task = BareTask::Handle::from_promise(ready.pop());
    task.resume();
    if (task.done()) task.destroy();
  }
}

}  // namespace

std::vector<std::int64_t> random_offsets() {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int64_t> within(0, 3'499'999);
  std::vector<std::int64_t> offsets(kDeadlines);
  for (std::int64_t& offset : offsets) offset = within(random);
  return offsets;
}

std::uint64_t bare_yields(unsigned ready, std::uint64_t turns) {
  std::uint64_t taken = 0;
  BareQueue queue;
  for (unsigned index = 0; index < ready; ++index) queue.push(give_way(queue, turns / ready, taken).release().promise());
  run_all(queue);
  return taken;
}

void BareDeadlineYields::arrive(BarePromise& task) {
  waiting_[arrived_++] = &task;
  if (arrived_ != waiting_.size()) return;
  arrived_ = 0;
  for (BarePromise* const one : waiting_) calendar_.push(*one, offsets_[choice_.next()]);
}

std::uint64_t BareDeadlineYields::run(std::uint64_t turns) {
  std::uint64_t taken = 0;
  for (std::size_t index = 0; index < waiting_.size(); ++index)
    calendar_.push(arrive_again(*this, turns / waiting_.size(), taken).release().promise(), 0);
  run_all(calendar_);
  return taken;
}

}  // namespace floe::bench
