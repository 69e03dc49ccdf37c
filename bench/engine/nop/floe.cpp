#include "bench/engine/nop/nop.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<void> one_after_the_other(std::uint64_t count) {
  for (std::uint64_t done = 0; done < count; ++done) {
    const auto did = co_await engine::nop();
    if (!did) co_return did.failure();
  }
  co_return ok;
}

task<void> side_by_side(std::uint64_t count, unsigned depth) {
  engine::scope all("nops");
  for (unsigned lane = 0; lane < depth; ++lane) all.spawn(one_after_the_other(count / depth), "nop");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

}  // namespace

void floe_nops(engine::loop& on, std::uint64_t count, unsigned depth) {
  const std::uint64_t before = on.counters().operations;
  require(on.run(side_by_side(count, depth)).has_value(), "floe: a nop failed");
  require(on.counters().operations - before == count, "floe: nops are missing");
}

}  // namespace floe::bench
