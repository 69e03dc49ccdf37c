#include "bench/engine/lateness/lateness.hpp"

namespace floe::bench {
namespace {

using engine::task;

task<double> one_sleep(std::int64_t due) {
  const auto slept = co_await engine::sleep_until(engine::from_nanos(due));
  if (!slept) co_return slept.failure();
  co_return monotonic_nanos() - static_cast<double>(due);
}

// The lateness of each tick; a missed one counts as late as the one that came instead.
task<std::vector<double>> beat(std::uint64_t ticks, engine::nanoseconds period) {
  std::vector<double> late;
  late.reserve(ticks);
  const engine::time_point start = engine::loop::current().now() + period;
  engine::ticker ticker(period, start);
  while (late.size() < ticks) {
    const auto tick = co_await ticker.next();
    if (!tick) co_return tick.failure();
    const auto due = start + static_cast<std::int64_t>(tick->index) * period;
    if (due != tick->due) co_return Error("a tick is due at a moment that its index does not say");
    const double lateness = monotonic_nanos() - static_cast<double>(engine::to_nanos(due));
    for (std::uint64_t missed = 0; missed <= tick->missed && late.size() < ticks; ++missed) late.push_back(lateness);
  }
  co_return std::move(late);
}

}  // namespace

double floe_lateness(engine::loop& on, std::int64_t due) {
  const auto late = on.run(one_sleep(due));
  require(late.has_value() && *late >= 0, "floe: a sleep failed or ended early");
  return *late;
}

double floe_drift(engine::loop& on, std::uint64_t ticks, engine::nanoseconds period) {
  const auto late = on.run(beat(ticks, period));
  require(late.has_value(), "floe: the beat failed");
  const auto tenth = static_cast<std::ptrdiff_t>(ticks / 10);
  const double first = spread({late->begin(), late->begin() + tenth}).p10;
  const double last = spread({late->end() - tenth, late->end()}).p10;
  return (last - first) / static_cast<double>(ticks);
}

}  // namespace floe::bench
