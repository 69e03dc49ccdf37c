// "idle: ...": CPU time of the engine's thread, and how often it woke.
#include <sys/resource.h>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/idle/idle.hpp"

namespace floe::bench {
namespace {

double waits() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<double>(usage.ru_nvcsw);
}

template <class Idle>
Contender measure(const std::string& name, std::int64_t duration, Idle idle) {
  const double cpu = thread_cpu_nanos(), waited = waits();
  const auto ticks = static_cast<double>(idle());
  const double expected = static_cast<double>(kJobs) * static_cast<double>(duration) / kSecond;
  require(ticks > expected / 2 && ticks < expected * 1.1 + 1, "ticks are missing, or too many");  // a busy machine delays the last ones
  const double seconds = static_cast<double>(duration) / kSecond;
  return {name, {(thread_cpu_nanos() - cpu) / static_cast<double>(duration) * 100}, {{"wakes/s", (waits() - waited) / seconds}}};
}

}  // namespace

void idle_rows(Bench& bench) {
  Row row{"idle: 100 tasks at 1 Hz", "% CPU", "epoll, timerfds"};
  if (!bench.wants(row)) return;
  const std::int64_t duration = bench.settings.quick ? kSecond / 4 : 3 * kSecond;
  const auto on = make_loop();
  row.contenders.push_back(measure(row.baseline, duration, [&] { return timerfd_idle(duration); }));
  for (const AsioPeer& peer : asio_peers()) {
    if (peer.absent.empty()) {
      row.contenders.push_back(measure(peer.name, duration, [&] { return peer.idle(kJobs, phase, duration); }));
    } else {
      row.contenders.push_back({.name = peer.name, .absent = peer.absent});
    }
  }
  row.contenders.push_back(measure("floe", duration, [&] { return floe_idle(*on, duration); }));
  bench.add(std::move(row));
}

}  // namespace floe::bench
