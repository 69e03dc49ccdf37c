#include "bench/engine/timer/timer.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<std::uint64_t> one() {
  co_return 1;
}

task<std::uint64_t> with_timeouts(std::uint64_t count) {
  std::uint64_t ended = 0;
  for (std::uint64_t index = 0; index < count; ++index) {
    const auto got = co_await engine::with_timeout(one(), std::chrono::seconds(10));
    if (!got) co_return got.failure();
    ended += *got;
  }
  co_return ended;
}

}  // namespace

FloeTimers::FloeTimers(engine::loop& on, std::size_t live)
    : on_(on), timers_(live), choice_(live), far_(on.now_nanos() + 3'600'000'000'000) {
  for (Timer& timer : timers_) on_.add_timer(timer, far_ + choice_.due());
}

FloeTimers::~FloeTimers() {
  for (Timer& timer : timers_) on_.remove_timer(timer);
}

void FloeTimers::churn(std::uint64_t times) {
  for (std::uint64_t index = 0; index < times; ++index) {
    Timer& timer = timers_[choice_.victim()];
    on_.remove_timer(timer);
    on_.add_timer(timer, far_ + choice_.due());
  }
  require(on_.counters().timers == timers_.size(), "floe: timers are missing");
}

void floe_timeouts(engine::loop& on, std::uint64_t count) {
  const auto ended = on.run(with_timeouts(count));
  require(ended.has_value() && *ended == count, "floe: work under a timeout failed");
}

}  // namespace floe::bench
