#include "bench/engine/bare.hpp"

#include <array>

#include "bench/engine/task/task.hpp"

namespace floe::bench {
namespace {

BareTask number(std::uint64_t value) {
  co_return value;
}

BareTask sum(std::uint64_t count) {
  std::uint64_t all = 0;
  for (std::uint64_t value = 0; value < count; ++value) {
    const std::uint64_t got = co_await number(value);
    all += got;
  }
  co_return all;
}

BareTask count_one(std::uint64_t& ran) {
  ++ran;
  co_return 0;
}

// The array lies outside: it is larger than the frames of the pool.
BareTask batches_of(std::array<BareTask, kBatch>& made, std::uint64_t batches, bool await) {
  std::uint64_t ran = 0;
  for (std::uint64_t batch = 0; batch < batches; ++batch) {
    for (unsigned index = 0; index < kBatch; ++index) made[index] = count_one(ran);
    for (unsigned index = 0; await && index < kBatch; ++index) {
      const std::uint64_t ended = co_await made[index];
      if (ended != 0) std::abort();
    }
    for (auto& one : made) one = BareTask();
  }
  co_return ran;
}

// The least that spawning and joining takes: a queue, and a count of those that have not ended.
struct Join {
  BareQueue ready;
  std::uint64_t left = 0;
};

BareTask waves_of(Join& all, std::uint64_t waves, std::uint64_t wave) {
  std::uint64_t ran = 0;
  for (std::uint64_t number = 0; number < waves; ++number) {
    all.left = wave;
    for (std::uint64_t index = 0; index < wave; ++index) all.ready.push(count_one(ran).release().promise());
    co_await std::suspend_always();
  }
  co_return ran;
}

}  // namespace

std::uint64_t bare_sum(std::uint64_t count) {
  BarePool::trim();
  const std::uint64_t all = sum(count).run();
  require(BarePool::has_free(), "bare: the compiler has made the pooled frames part of others");
  return all;
}

std::uint64_t bare_batches(std::uint64_t batches, bool await) {
  std::array<BareTask, kBatch> made;
  return batches_of(made, batches, await).run();
}

std::uint64_t bare_waves(std::uint64_t waves, std::uint64_t wave) {
  Join all;
  BareTask parent = waves_of(all, waves, wave);
  all.ready.push(parent.promise());
  while (!all.ready.empty()) {
    BarePromise& task = all.ready.pop();
    const auto coroutine = BareTask::Handle::from_promise(task);
    coroutine.resume();
    if (&task == &parent.promise()) continue;
    coroutine.destroy();
    if (--all.left == 0) all.ready.push(parent.promise());
  }
  return parent.promise().value;
}

void bare_forget_frames() {
  BarePool::trim();
}

}  // namespace floe::bench
