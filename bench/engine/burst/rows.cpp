// "burst: ...": the value is in batches of completions, on average over where in the burst the urgent one's event comes. Promised: it runs
// within one batch of the one that brought its completion, which is where the bare ring sees it.
#include "bench/engine/burst/burst.hpp"

namespace floe::bench {
namespace {

template <class Burst>
Sample over_positions(Burst burst) {
  constexpr unsigned kStep = 16;
  Sample all;
  double resumes = 0;
  for (unsigned urgent = kStep - 1; urgent < kBurst; urgent += kStep) {
    const Urgent one = burst(urgent);
    all.value += one.batches * kStep / kBurst;
    resumes += one.resumes_before * kStep / kBurst;
  }
  all.figures = {{"resumes before", resumes}};
  return all;
}

}  // namespace

void burst_rows(Bench& bench) {
  Row row{"burst: a deadline among 256 ready", "batches", "raw io_uring"};
  if (!bench.wants(row)) return;
  const auto on = make_loop();
  RawRing ring;
  const Eventfds events;
  race(row,
       {{"raw io_uring", [&] { return over_positions([&](unsigned urgent) { return raw_burst(ring, events, urgent); }); }},
        {"floe", [&] { return over_positions([&](unsigned urgent) { return floe_burst(*on, events, urgent); }); }}},
       bench.rounds());
  row.promises = {difference_at_most(row, "floe", 1)};
  bench.add(std::move(row));
}

}  // namespace floe::bench
