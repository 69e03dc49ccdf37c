// Ending at every point where a task can wait: the workload below is stopped at its first suspension, its second, ... until it runs
// through, and again with each operation failing in turn. Nothing may hang, leak or touch a frame that is gone (the sanitizers watch).
#include <sys/eventfd.h>

#include <string>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<void> reader(int fd, std::size_t& total) {
  auto opened = byte_stream::open(fd);
  for (;;) {
    const auto piece = co_await opened->next();
    if (!piece) co_return piece.failure();
    if (piece->at_end()) break;
    total += piece->bytes().size();
  }
  co_return ok;
}

task<void> writer(UniqueFd given) {
  const UniqueFd to = std::move(given);
  const std::array<std::byte, 100> out{};
  for (int round = 0; round < 3; ++round) {
    const auto put = co_await write_all(to.get(), out);
    if (!put) co_return put.failure();
    const auto slept = co_await sleep_for(1s);
    if (!slept) co_return slept.failure();
  }
  co_return ok;
}

task<int> waits_in_vain() {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  std::array<std::byte, 8> value{};
  const auto got = co_await engine::read(event.get(), value);
  if (!got) co_return got.failure();
  co_return 1;
}

task<int> computes(worker_pool& workers) {
  const auto work = [] { return 3; };
  const auto got = co_await workers.run(work);
  if (!got) co_return got.failure();
  co_return *got;
}

// Whatever fails in between, the scope is joined on the only way out.
task<int> workload(worker_pool& workers) {
  auto [from, to] = make_pipe();
  std::size_t total = 0;
  engine::mailbox<int> box;
  scope children("workload");
  children.spawn(reader(from.get(), total), "reader");
  children.spawn(writer(std::move(to)), "writer");
  auto race = when_any(waits_in_vain(), computes(workers));
  const auto first = co_await std::move(race);
  static_cast<void>(first);
  auto limited = with_timeout(waits_in_vain(), 2s);
  const auto late = co_await std::move(limited);
  static_cast<void>(late);
  box.post(1);
  const auto item = co_await box.receive();
  static_cast<void>(item);
  ticker every(1s);
  const auto now = co_await every.next();
  static_cast<void>(now);
  co_await yield();
  const auto joined = co_await children.join();
  if (!joined) co_return joined.failure();
  co_return static_cast<int>(total);
}

task<void> guarded(worker_pool& workers, int& result) {
  const auto got = co_await workload(workers);
  if (!got) co_return got.failure();
  result = *got;
  co_return ok;
}

task<void> three_nops(int& done) {
  for (int round = 0; round < 3; ++round) {
    const auto did = co_await nop();
    if (!did) co_return did.failure();
    ++done;
  }
  co_return ok;
}

task<void> crowd(int& done) {
  scope all("crowd");
  for (int index = 0; index < 16; ++index) all.spawn(three_nops(done), "one of many");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(faults)

BOOST_AUTO_TEST_CASE(at_every_suspension) {
  worker_pool workers(1);
  std::uint64_t points = 0;
  for (std::uint64_t at = 0; at == 0 || at <= points; ++at) {
    manual_clock clock;
    const auto on = make_loop(&clock);
    fault_plan plan;
    plan.stop_at_suspension = at;
    on->inject(plan);
    int total = 0;
    const auto ended = on->run(guarded(workers, total));
    if (at == 0) {
      BOOST_REQUIRE(ended.has_value());
      BOOST_TEST(total == 300);
      points = on->suspensions();
      BOOST_TEST(points > 10U);
    }
    BOOST_TEST(on->counters().timers == 0U);
    BOOST_TEST(on->counters().ready == 0U);
  }
}

BOOST_AUTO_TEST_CASE(with_every_operation_failing) {
  worker_pool workers(1);
  for (std::uint64_t at = 1; at <= 12; ++at) {
    manual_clock clock;
    const auto on = make_loop(&clock);
    fault_plan plan;
    plan.fail_operation = at;
    on->inject(plan);
    int total = 0;
    const auto ended = on->run(guarded(workers, total));
    BOOST_TEST((ended.has_value() || ended.is_error()));
    BOOST_TEST(on->counters().timers == 0U);
  }
}

// The submission queue is full in the midst of a walk over completions, and the kernel wants them off before it takes more.
BOOST_AUTO_TEST_CASE(with_a_kernel_that_is_busy_for_a_moment) {
  for (std::uint64_t at = 1; at <= 20; ++at) {
    loop_options options;
    options.submission_entries = 4;
    const auto on = make_loop(options);
    fault_plan plan;
    plan.busy_enter = at;
    on->inject(plan);
    int done = 0;
    BOOST_TEST(on->run(crowd(done)).has_value());
    BOOST_TEST(done == 16 * 3);
    BOOST_TEST(on->counters().completions == 16U * 3);
  }
}

BOOST_AUTO_TEST_SUITE_END()
