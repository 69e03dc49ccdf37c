// "yield: N ready": a turn through the ready set, beside a bare queue. "with deadlines": all ready at once with random deadlines, run
// in that order, beside a bare calendar of 64 buckets. Promised at 64 ready: at most 4 ns and 18 ns, or 1.3 times the bare structure.
#include <fmt/format.h>

#include "bench/engine/yield/yield.hpp"

namespace floe::bench {
namespace {

void plain_row(Bench& bench, unsigned ready) {
  Row row{fmt::format("yield: {} ready", ready), "ns/turn", "bare queue"};
  if (!bench.wants(row)) return;
  const std::uint64_t turns = bench.scaled(2'000'000) / ready * ready;
  const auto on = make_loop();
  race_in_processes(
      bench, row,
      {{"bare queue", [&] { return charge(turns, [&] { require(bare_yields(ready, turns) == turns, "bare: turns are missing"); }); }},
       {"floe", [&] { return charge(*on, turns, [&] { require(floe_yields(*on, ready, turns) == turns, "floe: turns are missing"); }); }}},
      33);
  if (ready == 64) row.promises.push_back(either(median_at_most(row, "floe", 4), ratio_at_most(row, "floe", 1.3)));
  row.promises.push_back(allocates_nothing(row));
  bench.add(std::move(row));
}

void deadline_row(Bench& bench, unsigned ready) {
  Row row{fmt::format("yield: {} ready with deadlines", ready), "ns/turn", "bare calendar"};
  if (!bench.wants(row)) return;
  const std::uint64_t turns = std::uint64_t{20'000} / ready * ready;
  const std::uint64_t bursts = bench.scaled(50);
  const auto on = make_loop();
  BareDeadlineYields bare_ones(ready);
  FloeDeadlineYields floe(*on, ready);
  const auto bare = [&] {
    return charge(turns * bursts, [&] {
      for (std::uint64_t burst = 0; burst < bursts; ++burst) require(bare_ones.run(turns) == turns, "bare: turns are missing");
    });
  };
  const auto ours = [&] {
    Sample all;
    for (std::uint64_t burst = 0; burst < bursts; ++burst) {
      floe.set_deadlines();
      const Sample one = charge(turns, [&] { require(floe.run(turns) == turns, "floe: turns are missing"); });
      all.value += one.value / static_cast<double>(bursts);
      all.allocations += one.allocations;
      all.pool_misses += one.pool_misses;
    }
    return all;
  };
  race_in_processes(bench, row, {{"bare calendar", bare}, {"floe", ours}}, 33);
  if (ready == 64) row.promises.push_back(either(median_at_most(row, "floe", 18), ratio_at_most(row, "floe", 1.3)));
  row.promises.push_back(allocates_nothing(row));
  bench.add(std::move(row));
}

}  // namespace

void yield_rows(Bench& bench) {
  for (const unsigned ready : {2U, 16U, 64U, 256U}) plain_row(bench, ready);
  for (const unsigned ready : {2U, 16U, 64U, 256U}) deadline_row(bench, ready);
}

}  // namespace floe::bench
