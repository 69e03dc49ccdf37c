#include "engine/stop.hpp"

#include <thread>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<int> wait_for_ever(int fd) {
  std::array<std::byte, 1> buffer{};
  const auto got = co_await engine::read(fd, buffer);
  if (!got) co_return got.failure();
  co_return 1;
}

task<int> until(int fd, stop_token token) {
  auto guarded = with_stop(wait_for_ever(fd), std::move(token));
  const auto result = co_await std::move(guarded);
  if (!result) co_return result.failure();
  co_return *result;
}

task<void> self_stop(int fd) {
  stop_source stop;
  auto both = when_all(until(fd, stop.token()), [](stop_source source) -> task<int> {
    const auto turn = co_await engine::nop();
    source.request_stop();
    co_return turn.has_value();
  }(stop));
  const auto results = co_await std::move(both);
  const auto& [waited, stopped] = *results;
  BOOST_CHECK(waited.is_cancelled());
  BOOST_CHECK(stopped.has_value() && *stopped == 1);
  // The rest of the tree is not stopped.
  const auto did = co_await engine::nop();
  BOOST_CHECK(did.has_value());
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stop)

BOOST_AUTO_TEST_CASE(from_another_thread) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  stop_source source(*on);
  std::thread other([source]() mutable { source.request_stop(); });
  BOOST_TEST(on->run(until(from.get(), source.token())).is_cancelled());
  other.join();
  BOOST_TEST(source.stop_requested());
}

BOOST_AUTO_TEST_CASE(from_inside) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(self_stop(from.get())).has_value());
}

BOOST_AUTO_TEST_CASE(before_the_start) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  stop_source source(*on);
  source.request_stop();
  source.request_stop();
  BOOST_TEST(on->run(until(from.get(), source.token())).is_cancelled());
}

BOOST_AUTO_TEST_CASE(a_source_may_outlive_its_loop) {
  auto on = make_loop();
  stop_source source(*on);
  on.reset();
  source.request_stop();
  BOOST_TEST(source.stop_requested());
  BOOST_TEST(!stop_token().stop_requested());
}

BOOST_AUTO_TEST_SUITE_END()
