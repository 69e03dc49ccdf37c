#include "bench/engine/idle/idle.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<void> job(engine::time_point first, std::uint64_t& ticks) {
  engine::ticker beat(std::chrono::seconds(1), first);
  for (;;) {
    const auto tick = co_await beat.next();
    if (!tick) co_return tick.failure();
    ++ticks;
  }
}

task<void> all_jobs(std::int64_t duration, std::uint64_t& ticks) {
  const engine::time_point start = engine::loop::current().now();
  engine::scope jobs("jobs");
  for (unsigned index = 0; index < kJobs; ++index) jobs.spawn(job(start + engine::nanoseconds(phase(index)), ticks), "job");
  const auto slept = co_await engine::sleep_until(start + engine::nanoseconds(duration));
  jobs.request_stop();
  const auto joined = co_await jobs.join();
  if (!slept || !joined.is_cancelled()) co_return Error("the jobs did not run until they were stopped");
  co_return ok;
}

}  // namespace

std::uint64_t floe_idle(engine::loop& on, std::int64_t duration) {
  std::uint64_t ticks = 0;
  require(on.run(all_jobs(duration, ticks)).has_value(), "floe: a job failed");
  return ticks;
}

}  // namespace floe::bench
