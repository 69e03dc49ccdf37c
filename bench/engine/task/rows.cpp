// "task: ..." rows: CPU time beside the smallest coroutine that does the same. Promised: at most 1.4 times its cost to make, await and
// destroy, 1.5 ns more per switch, 1.7 times for a task of a warm wave of a thousand. A million at once is cold memory, mostly.
#include "bench/engine/task/task.hpp"

namespace floe::bench {
namespace {

constexpr const char* kBare = "bare coroutine";

void sum_row(Bench& bench) {
  Row row{"task: create, await, destroy", "ns/task", kBare};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(4'000'000);
  const std::uint64_t expected = count * (count - 1) / 2;
  const auto on = make_loop();
  race_in_processes(bench, row,
                    {{kBare, [&] { return charge(count, [&] { require(bare_sum(count) == expected, "bare: wrong sum"); }); }},
                     {"floe", [&] { return charge(*on, count, [&] { require(floe_sum(*on, count) == expected, "floe: wrong sum"); }); }}},
                    45);
  row.promises = {ratio_at_most(row, "floe", 1.4), allocates_nothing(row)};
  bench.add(std::move(row));
}

// With and without the switches, in turns: the difference of two figures of 10 ns must not meet two machines.
template <class Batches>
Sample switches(std::uint64_t batches, Batches run) {
  constexpr unsigned kTurns = 15;
  const std::uint64_t count = batches * kBatch * 2;
  std::vector<double> costs;
  Sample all;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    const Sample without = charge(count, [&] { require(run(batches, false) == 0, "a task ran unasked"); });
    const Sample with = charge(count, [&] { require(run(batches, true) == batches * kBatch, "a task did not run"); });
    costs.push_back(with.value - without.value);
    all.allocations += with.allocations;
  }
  all.value = spread(std::move(costs)).median;
  return all;
}

void switch_row(Bench& bench) {
  Row row{"task: one switch (symmetric transfer)", "ns", kBare};
  if (!bench.wants(row)) return;
  const std::uint64_t batches = bench.scaled(4'000);
  const auto on = make_loop();
  race_in_processes(bench, row,
                    {{kBare, [&] { return switches(batches, bare_batches); }},
                     {"floe", [&] { return switches(batches, [&](std::uint64_t n, bool await) { return floe_batches(*on, n, await); }); }}},
                    45);
  row.promises = {difference_at_most(row, "floe", 1.5), allocates_nothing(row)};
  bench.add(std::move(row));
}

void waves_row(Bench& bench) {
  Row row{"task: spawn and join, waves of 1,000", "ns/task", kBare};
  if (!bench.wants(row)) return;
  const std::uint64_t waves = bench.scaled(1'000);
  const std::uint64_t count = waves * 1'000;
  const auto on = make_loop();
  race_in_processes(
      bench, row,
      {{kBare, [&] { return charge(count, [&] { require(bare_waves(waves, 1'000) == count, "bare: tasks are missing"); }); }},
       {"floe", [&] { return charge(*on, count, [&] { require(floe_waves(*on, waves, 1'000) == count, "floe: tasks are missing"); }); }}},
      45);
  row.promises = {ratio_at_most(row, "floe", 1.7), allocates_nothing(row)};
  bench.add(std::move(row));
}

void cold_row(Bench& bench) {
  Row row{"task: spawn and join, a million at once", "ns/task", kBare};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(1'000'000);
  const auto on = make_loop();
  const auto bare = [&] {
    const Sample taken = charge(count, [&] { require(bare_waves(1, count) == count, "bare: tasks are missing"); });
    bare_forget_frames();
    return taken;
  };
  race_in_processes(
      bench, row,
      {{kBare, bare},
       {"floe", [&] { return charge(*on, count, [&] { require(floe_waves(*on, 1, count) == count, "floe: tasks are missing"); }); }}},
      5);
  bench.add(std::move(row));
}

}  // namespace

void task_rows(Bench& bench) {
  sum_row(bench);
  switch_row(bench);
  waves_row(bench);
  cold_row(bench);
}

}  // namespace floe::bench
