#include "engine/scope.hpp"

#include <string>
#include <vector>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<void> sleeper(nanoseconds how_long) {
  const auto slept = co_await sleep_for(how_long);
  if (!slept) co_return slept.failure();
  co_return ok;
}

task<void> fails_after(nanoseconds how_long, const char* why) {
  const auto slept = co_await sleep_for(how_long);
  if (!slept) co_return slept.failure();
  co_return fail(why);
}

task<void> one_fails(loop& on, errors policy) {
  const auto began = on.now();
  scope all("family", policy);
  all.spawn(sleeper(1h), "long");
  all.spawn(fails_after(1s, "broke"), "culprit");
  BOOST_TEST(all.running() == 2U);
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_error());
  BOOST_TEST(joined.error().message == "culprit: broke");
  BOOST_TEST(all.running() == 0U);
  BOOST_TEST(all.failed() == 1U);
  BOOST_CHECK(on.now() - began == (policy == errors::collect ? nanoseconds(1h) : nanoseconds(1s)));
  co_return ok;
}

// A read that nothing will ever satisfy, inside nested scopes: a stop from the top has to reach the kernel.
task<void> read_for_ever(int fd, bool& was_cancelled) {
  std::array<std::byte, 8> buffer{};
  const auto got = co_await engine::read(fd, buffer);
  was_cancelled = got.is_cancelled();
  if (!got) co_return got.failure();
  co_return ok;
}

task<void> nested(int fd, bool& was_cancelled) {
  scope inner("inner");
  inner.spawn(read_for_ever(fd, was_cancelled), "reader");
  const auto joined = co_await inner.join();
  BOOST_CHECK(joined.is_cancelled());
  co_return cancelled;
}

task<void> stop_from_above(int fd, loop& on) {
  bool was_cancelled = false;
  scope outer("outer");
  outer.spawn(nested(fd, was_cancelled), "nested");
  const auto turn = co_await sleep_for(1s);
  BOOST_CHECK(turn.has_value());
  outer.request_stop();
  const auto joined = co_await outer.join();
  BOOST_CHECK(joined.is_cancelled());
  BOOST_CHECK(was_cancelled);
  BOOST_TEST(on.counters().cancels == 1U);
  co_return ok;
}

// The cancel request's own result says nothing; the read counts as cancelled only once its completion came. Bytes written later must not
// land in the old buffer.
task<void> buffer_is_free_after_cancel(int from, int to) {
  std::array<std::byte, 8> buffer{};
  {
    scope all("readers");
    all.spawn(
        [](int fd, std::span<std::byte> into) -> task<void> {
          const auto got = co_await engine::read(fd, into);
          BOOST_CHECK(got.is_cancelled());
          co_return ok;
        }(from, buffer),
        "reader");
    const auto turn = co_await engine::nop();
    BOOST_CHECK(turn.has_value());
    all.request_stop();
    const auto joined = co_await all.join();
    BOOST_CHECK(joined.is_cancelled());
  }
  const std::array<std::byte, 8> other = {std::byte{1}};
  const auto put = co_await engine::write(to, other);
  BOOST_CHECK(put.has_value());
  const auto turn = co_await engine::nop();
  BOOST_CHECK(turn.has_value());
  BOOST_CHECK(buffer[0] == std::byte{0});
  std::array<std::byte, 8> again{};
  const auto got = co_await engine::read(from, again);
  BOOST_CHECK(got.has_value() && *got == 8 && again[0] == std::byte{1});
  co_return ok;
}

task<int> nothing_starts_in_a_stopped_scope(int fd) {
  std::array<std::byte, 1> buffer{};
  const auto got = co_await engine::read(fd, buffer);
  BOOST_CHECK(got.is_cancelled());
  const auto slept = co_await sleep_for(1h);
  BOOST_CHECK(slept.is_cancelled());
  const auto did = co_await engine::nop();
  BOOST_CHECK(did.is_cancelled());
  // Clean-up goes on: closing always, the rest when shielded.
  auto safe = shielded(sleeper(1s));
  const auto cleaned = co_await std::move(safe);
  BOOST_CHECK(cleaned.has_value());
  UniqueFd copy(dup(fd));
  const int number = copy.get();
  const auto closed = co_await engine::close(std::move(copy));
  BOOST_CHECK(closed.has_value());
  BOOST_TEST(fcntl(number, F_GETFD) == -1);
  co_return 1;
}

task<void> stopped_scope(int fd) {
  scope all("stopped");
  all.request_stop();
  all.spawn(
      [](int what) -> task<void> {
        const auto done = co_await nothing_starts_in_a_stopped_scope(what);
        BOOST_CHECK(done.has_value());
        co_return ok;
      }(fd),
      "child");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_cancelled());
  co_return ok;
}

task<void> count_up(int& count) {
  ++count;
  co_return ok;
}

task<void> reused(int& count) {
  scope all("reused");
  for (int round = 0; round < 3; ++round) {
    for (int child = 0; child < 100; ++child) all.spawn(count_up(count), "child");
    const auto joined = co_await all.join();
    BOOST_CHECK(joined.has_value());
  }
  const auto empty = co_await all.join();
  BOOST_CHECK(empty.has_value());
  co_return ok;
}

task<void> ends_at_once(std::string& story) {
  story += 'e';
  co_return ok;
}

task<void> waits(int fd, std::string& story) {
  std::array<std::byte, 1> buffer{};
  const auto got = co_await engine::read(fd, buffer);
  story += got.is_cancelled() ? 'c' : '?';
  co_return ok;
}

task<void> stops_all(engine::scope& all, std::string& story) {
  story += 's';
  all.request_stop();
  co_return ok;
}

// A stop that comes from a child's first turn finds siblings that have ended, that wait, and that have yet to begin.
task<void> stop_from_a_first_turn(int fd, std::string& story) {
  engine::scope all("siblings");
  all.spawn(waits(fd, story), "waits");
  all.spawn(ends_at_once(story), "ends at once");
  all.spawn(stops_all(all, story), "stops all");
  all.spawn(waits(fd, story), "has yet to begin");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.is_cancelled());
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(scope)

BOOST_AUTO_TEST_CASE(a_failing_child_stops_its_siblings) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(one_fails(*on, errors::stop_others)).has_value());
}

BOOST_AUTO_TEST_CASE(or_does_not_where_errors_are_collected) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  BOOST_TEST(on->run(one_fails(*on, errors::collect)).has_value());
}

BOOST_AUTO_TEST_CASE(a_stop_reaches_the_kernel) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(stop_from_above(from.get(), *on)).has_value());
}

BOOST_AUTO_TEST_CASE(a_cancelled_read_has_let_go_of_its_buffer) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(buffer_is_free_after_cancel(from.get(), to.get())).has_value());
}

BOOST_AUTO_TEST_CASE(a_stopped_scope_starts_nothing_but_clean_up) {
  manual_clock clock;
  const auto on = make_loop(&clock);
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(stopped_scope(from.get())).has_value());
}

BOOST_AUTO_TEST_CASE(a_stop_finds_whoever_waits) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  std::string story;
  BOOST_TEST(on->run(stop_from_a_first_turn(from.get(), story)).has_value());
  BOOST_TEST(story == "escc");
}

BOOST_AUTO_TEST_CASE(can_be_joined_again) {
  int count = 0;
  BOOST_TEST(make_loop()->run(reused(count)).has_value());
  BOOST_TEST(count == 300);
}

BOOST_AUTO_TEST_SUITE_END()
