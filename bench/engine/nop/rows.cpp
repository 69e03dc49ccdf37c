// "nop, depth N": CPU time per operation. Promised: the engine keeps 95 % of a raw liburing loop's throughput at depth 1, 97 % at 32 and
// 256; aimed at: the same of a ring without the library, whose system call is inlined.
// "stall detector": the same work, its own baseline being an engine that never looks at the clock.
#include <fmt/format.h>

#include "bench/engine/nop/nop.hpp"

namespace floe::bench {
namespace {

void depth_row(Bench& bench, unsigned depth, double promised) {
  Row row{fmt::format("nop, depth {}", depth), "ns/op", "raw io_uring", Ratio::throughput};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(depth == 1 ? 100'000 : 400'000) / depth * depth;
  RawRing ring;
  LiburingRing liburing;
  const auto on = make_loop();
  race_in_processes(bench, row,
                    {{"raw io_uring", [&] { return charge(count, [&] { bare_nops(ring, count, depth); }); }},
                     {"liburing", [&] { return charge(count, [&] { bare_nops(liburing, count, depth); }); }},
                     {"floe", [&] { return charge(*on, count, [&] { floe_nops(*on, count, depth); }); }}},
                    45);
  row.promises = {ratio_at_least(row, "floe", promised, "liburing"), ratio_at_least(row, "floe", promised), allocates_nothing(row)};
  bench.add(std::move(row));
}

// Where the heap puts a loop and its tasks' frames is worth up to 8 % here. A loop made and destroyed in each round lies where its rival
// did.
Sample fresh_nops(engine::nanoseconds threshold, std::uint64_t count) {
  engine::loop_options options;
  options.stall_threshold = threshold;
  const auto on = make_loop(std::move(options));
  floe_nops(*on, 32'000, 32);
  return charge(*on, count, [&] { floe_nops(*on, count, 32); });
}

void stall_row(Bench& bench) {
  Row row{"stall detector, nop depth 32", "ns/op", "floe, not looking", Ratio::throughput};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(400'000) / 32 * 32;
  race_in_processes(bench, row,
                    {{"floe, not looking", [&] { return fresh_nops(engine::nanoseconds(0), count); }},
                     {"floe", [&] { return fresh_nops(engine::loop_options().stall_threshold, count); }}},
                    41);
  row.promises = {ratio_at_least(row, "floe", 0.98), allocates_nothing(row)};
  bench.add(std::move(row));
}

}  // namespace

void nop_rows(Bench& bench) {
  depth_row(bench, 1, 0.95);
  depth_row(bench, 32, 0.97);
  depth_row(bench, 256, 0.97);
  stall_row(bench);
}

}  // namespace floe::bench
