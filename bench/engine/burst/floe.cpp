#include "bench/engine/burst/burst.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

struct Progress {
  engine::loop& on;
  std::uint64_t enters_before = 0;
  unsigned resumed = 0;
  Urgent urgent = {};
};

task<void> wait_for(int event, bool urgent, Progress& progress) {
  std::uint64_t value = 0;
  const auto into = std::as_writable_bytes(std::span(&value, 1));
  const auto got = co_await engine::read(event, into);
  if (!got) co_return got.failure();
  if (value != 1) co_return Error("an event was not signalled once");
  if (urgent) {
    progress.urgent.resumes_before = progress.resumed;
    progress.urgent.batches = static_cast<double>(progress.on.counters().enters - progress.enters_before);
  }
  ++progress.resumed;
  co_return ok;
}

task<void> burst(const Eventfds& events, unsigned urgent, Progress& progress) {
  engine::scope all("burst");
  for (unsigned index = 0; index < kBurst; ++index) {
    task<void> waiting = wait_for(events[index], index == urgent, progress);
    if (index == urgent) waiting = engine::with_timeout(std::move(waiting), std::chrono::milliseconds(500));
    all.spawn(std::move(waiting), std::string_view(index == urgent ? "urgent" : "other"));
  }
  const auto armed = co_await engine::sleep_for(std::chrono::microseconds(200));
  if (!armed) co_return armed.failure();
  events.signal_all();
  progress.enters_before = progress.on.counters().enters;
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

}  // namespace

Urgent floe_burst(engine::loop& on, const Eventfds& events, unsigned urgent) {
  Progress progress{on};
  require(on.run(burst(events, urgent, progress)).has_value() && progress.resumed == kBurst, "floe: a burst failed");
  return progress.urgent;
}

}  // namespace floe::bench
