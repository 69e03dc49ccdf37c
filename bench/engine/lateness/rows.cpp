// "lateness: 1 kHz, p50 / p90": sleepers take turns tick by tick, so all meet the same machine. A round is one run of some seconds, its
// value the percentile of that run, which still moves by a microsecond. Promised: p50 at most 1 us above a blocking read of a timerfd, p90
// at most 1.05 times it. "lateness: drift": promised none; 5 ns per tick is what the clock of a busy machine pretends.
#include <cmath>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/lateness/lateness.hpp"

namespace floe::bench {
namespace {

struct Sleeper {
  std::string name;
  unsigned every;  // so many turns of the others it takes one
  std::function<double(std::int64_t due)> lateness;
  std::vector<double> late = {};  // of this run, us
};

void one_run(std::vector<Sleeper>& sleepers, std::uint64_t turns) {
  constexpr std::int64_t kPeriod = 1'000'000;
  for (Sleeper& sleeper : sleepers) sleeper.late.clear();
  auto due = static_cast<std::int64_t>(monotonic_nanos()) + kPeriod;
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    for (Sleeper& sleeper : sleepers) {
      if (turn % sleeper.every != 0) continue;
      sleeper.late.push_back(sleeper.lateness(due) / 1000);
      while (monotonic_nanos() > static_cast<double>(due + kPeriod)) due += kPeriod;  // nobody is blamed for the one before
      due += kPeriod;
    }
  }
}

void percentile_rows(Bench& bench) {
  Row half{"lateness: 1 kHz, p50", "us", "timerfd read"};
  Row most{"lateness: 1 kHz, p90", "us", "timerfd read"};
  if (!bench.wants(half) && !bench.wants(most)) return;
  const auto on = make_loop();
  TimerfdSleeper timerfd;
  std::vector<std::shared_ptr<void>> opened;
  std::vector<Sleeper> sleepers = {{"timerfd read", 1, [&](std::int64_t due) { return timerfd.lateness(due); }},
                                   {"floe", 1, [&](std::int64_t due) { return floe_lateness(*on, due); }}};
  for (const AsioPeer& peer : asio_peers()) {
    if (!peer.absent.empty()) {
      for (Row* const row : {&half, &most}) row->contenders.push_back({.name = peer.name, .absent = peer.absent});
      continue;
    }
    opened.emplace_back(peer.sleeper_open(), peer.sleeper_close);
    sleepers.push_back({peer.name, 4, [&peer, own = opened.back().get()](std::int64_t due) { return peer.sleeper_lateness(own, due); }});
  }
  for (const Sleeper& sleeper : sleepers)
    for (Row* const row : {&half, &most}) row->contenders.insert(row->contenders.begin() + (&sleeper - sleepers.data()), {sleeper.name});
  for (unsigned run = 0; run < bench.rounds(5); ++run) {
    one_run(sleepers, bench.scaled(2'000));
    for (std::size_t index = 0; index < sleepers.size(); ++index) {
      const Spread late = spread(sleepers[index].late);
      half.contenders[index].rounds.push_back(late.median);
      most.contenders[index].rounds.push_back(late.p90);
    }
  }
  half.promises = {difference_at_most(half, "floe", 1)};
  most.promises = {ratio_at_most(most, "floe", 1.05)};
  bench.add(std::move(half));
  bench.add(std::move(most));
}

void drift_row(Bench& bench) {
  Row row{"lateness: drift over 10,000 ticks", "ns/tick", ""};
  if (!bench.wants(row)) return;
  const std::uint64_t ticks = bench.settings.quick ? 200 : 10'000;
  const auto on = make_loop();
  row.contenders = {{"floe", {std::abs(floe_drift(*on, ticks, std::chrono::microseconds(500)))}}};
  row.promises = {median_at_most(row, "floe", 5)};
  bench.add(std::move(row));
}

}  // namespace

void lateness_rows(Bench& bench) {
  percentile_rows(bench);
  drift_row(bench);
}

}  // namespace floe::bench
