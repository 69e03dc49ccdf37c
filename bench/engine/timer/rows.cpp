// "timer: set and cancel, N live": the timer heap. Promised: at most 1.8 times a bare 4-ary heap (which breaks ties as it likes; the
// engine's fires equal times in the order they were set). "timer: a timeout that does not fire": the same as users write it, around work
// that ends.
#include <fmt/format.h>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/timer/timer.hpp"

namespace floe::bench {
namespace {

void churn_row(Bench& bench, const char* how_many, std::size_t live) {
  Row row{fmt::format("timer: set and cancel, {} live", how_many), "ns/pair", "bare heap"};
  if (!bench.wants(row)) return;
  const std::uint64_t times = bench.scaled(live > 10'000 ? 200'000 : 1'000'000);
  const auto on = make_loop();
  BareTimers bare(live);
  FloeTimers floe(*on, live);
  race(row,
       {{"bare heap", [&] { return charge(times, [&] { bare.churn(times); }); }},
        {"floe", [&] { return charge(times, [&] { floe.churn(times); }); }}},
       bench.rounds());
  row.promises = {ratio_at_most(row, "floe", 1.8), allocates_nothing(row)};
  bench.add(std::move(row));
}

void timeout_row(Bench& bench) {
  Row row{"timer: a timeout that does not fire", "ns", "Asio epoll"};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(200'000);
  const auto on = make_loop();
  std::vector<Lane> lanes;
  for (const AsioPeer& peer : asio_peers()) {
    const auto round = [&peer, count] { return charge(count, [&] { require(peer.timeouts(count) == count, "Asio: timers"); }); };
    lanes.push_back({peer.name, round, peer.absent});
  }
  lanes.push_back({"floe", [&] { return charge(*on, count, [&] { floe_timeouts(*on, count); }); }});
  race(row, lanes, bench.rounds());
  row.promises = {allocates_nothing(row)};
  bench.add(std::move(row));
}

}  // namespace

void timer_rows(Bench& bench) {
  churn_row(bench, "1,000", 1'000);
  churn_row(bench, "a million", 1'000'000);
  timeout_row(bench);
}

}  // namespace floe::bench
