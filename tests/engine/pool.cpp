#include "engine/pool.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<int> square(worker_pool& pool, int value) {
  const auto work = [value] { return value * value; };
  const auto got = co_await pool.run(work);
  if (!got) co_return got.failure();
  co_return *got;
}

task<void> many(worker_pool& pool) {
  std::vector<task<int>> works;
  for (int value = 0; value < 200; ++value) works.push_back(square(pool, value));
  auto together = when_all(std::move(works));
  const auto results = co_await std::move(together);
  for (int value = 0; value < 200; ++value) BOOST_CHECK(*(*results)[static_cast<std::size_t>(value)] == value * value);
  co_return ok;
}

task<void> kinds(worker_pool& pool) {
  const auto loop_thread = std::this_thread::get_id();
  const auto where = [] { return std::this_thread::get_id(); };
  const auto worker = co_await pool.run(where);
  BOOST_CHECK(worker.has_value() && *worker != loop_thread);
  BOOST_CHECK(std::this_thread::get_id() == loop_thread);
  const auto nothing = [] {};
  const auto did = co_await pool.run(nothing);
  BOOST_CHECK(did.has_value());
  const auto refuse = []() -> Result<int> { return fail("refused"); };
  const auto refused = co_await pool.run(refuse);
  BOOST_TEST(refused.error().message == "refused");
  const auto blow = []() -> int { throw std::runtime_error("boom"); };
  const auto blown = co_await pool.run(blow);
  BOOST_TEST(blown.error().message == "an exception left a task: boom");
  co_return ok;
}

task<void> hold(worker_pool& pool, std::atomic<int>& stage) {
  const auto work = [&stage] {
    stage.store(1);
    stage.notify_all();
    stage.wait(1);
    return 5;
  };
  const auto got = co_await pool.run(work);
  BOOST_CHECK(got.has_value() && *got == 5);  // it had begun: it is waited for
  co_return ok;
}

task<void> queued_behind(worker_pool& pool, bool& ran) {
  const auto work = [&ran] { ran = true; };
  const auto got = co_await pool.run(work);
  BOOST_CHECK(got.is_cancelled());
  co_return ok;
}

task<void> stop_both(worker_pool& pool) {
  std::atomic<int> stage{0};
  bool ran = false;
  scope all("works");
  all.spawn(hold(pool, stage), "running");
  const auto turn = co_await engine::nop();
  BOOST_CHECK(turn.has_value());
  stage.wait(0);
  all.spawn(queued_behind(pool, ran), "queued");
  co_await yield();
  BOOST_TEST(pool.queued() == 1U);
  all.request_stop();
  BOOST_TEST(pool.queued() == 0U);
  stage.store(2);
  stage.notify_all();
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_cancelled());
  BOOST_CHECK(!ran);
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pool)

BOOST_AUTO_TEST_CASE(computes_beside_the_loop) {
  worker_pool workers(3);
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(many(workers)).has_value());
  BOOST_TEST(on->run(kinds(workers)).has_value());
  BOOST_TEST(workers.finished() == 204U);
}

BOOST_AUTO_TEST_CASE(a_stop_takes_out_what_has_not_begun) {
  worker_pool workers(1);
  BOOST_TEST(make_loop()->run(stop_both(workers)).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
