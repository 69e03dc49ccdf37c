#include "bench/engine/timer/timer.hpp"

namespace floe::bench {

BareTimers::BareTimers(std::size_t live) : timers_(live), choice_(live) {
  for (Timer& timer : timers_) insert(timer, choice_.due());
}

void BareTimers::churn(std::uint64_t times) {
  for (std::uint64_t index = 0; index < times; ++index) {
    Timer& timer = timers_[choice_.victim()];
    remove(timer);
    insert(timer, choice_.due());
  }
  require(heap_.size() == timers_.size(), "bare heap: timers are missing");
}

void BareTimers::insert(Timer& timer, std::int64_t due) {
  heap_.push_back({due, &timer});
  up(heap_.size() - 1, heap_.back());
}

void BareTimers::remove(Timer& timer) {
  const std::size_t hole = timer.place;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (hole == heap_.size()) return;
  if (hole > 0 && last.due < heap_[(hole - 1) / 4].due) {
    up(hole, last);
  } else {
    down(hole, last);
  }
}

void BareTimers::place(std::size_t index, Entry what) {
  heap_[index] = what;
  what.timer->place = static_cast<std::uint32_t>(index);
}

void BareTimers::up(std::size_t index, Entry what) {
  for (; index > 0 && what.due < heap_[(index - 1) / 4].due; index = (index - 1) / 4) place(index, heap_[(index - 1) / 4]);
  place(index, what);
}

void BareTimers::down(std::size_t index, Entry what) {
  const Entry* const heap = heap_.data();
  const std::size_t count = heap_.size();
  for (std::size_t first = index * 4 + 1; first < count; first = index * 4 + 1) {
    std::size_t least = first;
    for (std::size_t child = first + 1; child < count && child < first + 4; ++child)
      if (heap[child].due < heap[least].due) least = child;
    if (heap[least].due >= what.due) break;
    place(index, heap[least]);
    index = least;
  }
  place(index, what);
}

}  // namespace floe::bench
