#include <array>

#include "bench/engine/task/task.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<std::uint64_t> number(std::uint64_t value) {
  co_return value;
}

task<std::uint64_t> sum(std::uint64_t count) {
  std::uint64_t all = 0;
  for (std::uint64_t value = 0; value < count; ++value) {
    const auto got = co_await number(value);
    all += *got;
  }
  co_return all;
}

task<void> count_one(std::uint64_t& ran) {
  ++ran;
  co_return ok;
}

task<std::uint64_t> batches_of(std::uint64_t batches, bool await) {
  std::uint64_t ran = 0;
  std::array<task<void>, kBatch> made;
  for (std::uint64_t batch = 0; batch < batches; ++batch) {
    for (unsigned index = 0; index < kBatch; ++index) made[index] = count_one(ran);
    for (unsigned index = 0; await && index < kBatch; ++index) {
      const auto ended = co_await std::move(made[index]);
      if (!ended) co_return ended.failure();
    }
    for (auto& one : made) one = task<void>();
  }
  co_return ran;
}

task<std::uint64_t> waves_of(std::uint64_t waves, std::uint64_t wave) {
  std::uint64_t ran = 0;
  engine::scope all("wave");
  for (std::uint64_t number = 0; number < waves; ++number) {
    for (std::uint64_t index = 0; index < wave; ++index) all.spawn(count_one(ran), "one");
    const auto joined = co_await all.join();
    if (!joined) co_return joined.failure();
  }
  co_return ran;
}

std::uint64_t run(engine::loop& on, task<std::uint64_t> work) {
  const auto got = on.run(std::move(work));
  require(got.has_value(), "floe: a task failed");
  return *got;
}

}  // namespace

std::uint64_t floe_sum(engine::loop& on, std::uint64_t count) {
  return run(on, sum(count));
}
std::uint64_t floe_batches(engine::loop& on, std::uint64_t batches, bool await) {
  return run(on, batches_of(batches, await));
}
std::uint64_t floe_waves(engine::loop& on, std::uint64_t waves, std::uint64_t wave) {
  return run(on, waves_of(waves, wave));
}

}  // namespace floe::bench
