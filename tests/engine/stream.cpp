#include "engine/stream.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <cstdio>
#include <string>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;
using namespace std::chrono_literals;

namespace {

task<void> write_and_close(UniqueFd given, std::size_t total, bool with_pauses) {
  const UniqueFd to = std::move(given);  // a local: parameters live until the frame goes, and when_all keeps it to the end
  std::vector<std::byte> out(1000);
  std::size_t sent = 0;
  while (sent < total) {
    for (std::size_t index = 0; index < out.size(); ++index) out[index] = static_cast<std::byte>((sent + index) % 251);
    const auto part = std::span<const std::byte>(out).first(std::min(out.size(), total - sent));
    const auto put = co_await write_all(to.get(), part);
    if (!put) co_return put.failure();
    sent += part.size();
    if (with_pauses) co_await yield();
  }
  co_return ok;
}

task<std::size_t> read_all(byte_stream& from, bool& intact) {
  std::size_t total = 0;
  for (;;) {
    const auto piece = co_await from.next();
    if (!piece) co_return piece.failure();
    if (piece->at_end()) break;
    for (const std::byte one : piece->bytes()) intact = intact && one == static_cast<std::byte>(total++ % 251);
  }
  co_return total;
}

task<void> through_stream(int fd, UniqueFd to, byte_stream_options options, std::uint64_t& submissions) {
  auto opened = byte_stream::open(fd, options);
  BOOST_CHECK(opened.has_value());
  bool intact = true;
  constexpr std::size_t kTotal = 200'000;
  auto both = when_all(write_and_close(std::move(to), kTotal, true), read_all(*opened, intact));
  const auto results = co_await std::move(both);
  const auto& [written, taken] = *results;
  BOOST_CHECK(written.has_value());
  BOOST_CHECK(taken.has_value() && *taken == kTotal);
  BOOST_CHECK(intact);
  const auto after = co_await opened->next();
  BOOST_CHECK(after.has_value() && after->at_end());
  submissions = opened->submissions();
  BOOST_TEST_MESSAGE("multishot: " << opened->multishot() << ", submissions " << submissions);
  co_return ok;
}

// Holding every buffer back stops the source; giving them back continues without a lost byte.
task<void> held_back(int from, int to) {
  byte_stream_options options;
  options.buffers = 2;
  options.buffer_bytes = 16;
  auto opened = byte_stream::open(from, options);
  std::array<std::byte, 64> out{};
  for (std::size_t index = 0; index < out.size(); ++index) out[index] = static_cast<std::byte>(index);
  const std::span<const std::byte> all(out);
  const auto put = co_await write_all(to, all);
  BOOST_CHECK(put.has_value());
  {
    const auto first = co_await opened->next();
    const auto second = co_await opened->next();
    BOOST_CHECK(first.has_value() && second.has_value());
    BOOST_CHECK(first->bytes()[0] == std::byte{0} && second->bytes()[0] == std::byte{16});
    const auto third = co_await opened->next();
    BOOST_CHECK(third.is_error());
    BOOST_TEST(third.error().code == ENOBUFS);
  }
  const auto third = co_await opened->next();
  BOOST_CHECK(third.has_value() && third->bytes()[0] == std::byte{32});
  const auto fourth = co_await opened->next();
  BOOST_CHECK(fourth.has_value() && fourth->bytes()[0] == std::byte{48});
  co_return ok;
}

task<void> wait_for_bytes(byte_stream& from) {
  const auto piece = co_await from.next();
  BOOST_CHECK(piece.is_cancelled());
  co_return ok;
}

task<void> stopped_and_dropped(int from, int to, loop& on) {
  {
    auto opened = byte_stream::open(from);
    scope all("readers");
    all.spawn(wait_for_bytes(*opened), "reader");
    const auto turn = co_await engine::nop();
    BOOST_CHECK(turn.has_value());
    all.request_stop();
    const auto joined = co_await all.join();
    BOOST_CHECK(joined.is_cancelled());
    // A stop ends the wait, not the stream.
    const std::array<std::byte, 3> out{};
    const auto put = co_await engine::write(to, out);
    BOOST_CHECK(put.has_value());
    const auto piece = co_await opened->next();
    BOOST_CHECK(piece.has_value() && piece->bytes().size() == 3);
  }
  BOOST_TEST(on.counters().orphans <= 1U);
  for (int turns = 0; turns < 3; ++turns) {
    const auto turn = co_await engine::nop();
    BOOST_CHECK(turn.has_value());
  }
  BOOST_TEST(on.counters().orphans == 0U);
  co_return ok;
}

task<void> a_chunk_outlives_its_stream(int from, int to) {
  const std::array<std::byte, 3> out = {std::byte{9}};
  const auto put = co_await engine::write(to, out);
  BOOST_CHECK(put.has_value());
  chunk kept;
  {
    auto opened = byte_stream::open(from);
    auto piece = co_await opened->next();
    kept = std::move(*piece);
  }
  const auto turn = co_await engine::nop();
  BOOST_CHECK(turn.has_value());
  BOOST_CHECK(kept.bytes()[0] == std::byte{9});
  co_return ok;
}

task<void> ring_bell(int fd, int times) {
  for (int count = 0; count < times; ++count) {
    const auto slept = co_await sleep_for(1s);
    if (!slept) co_return slept.failure();
    eventfd_write(fd, 1);
  }
  co_return ok;
}

task<void> hear_bell(int fd, int times, std::uint64_t& submissions) {
  auto events = poll_stream::open(fd, POLLIN);
  eventfd_t total = 0;
  while (total < static_cast<eventfd_t>(times)) {
    const auto seen = co_await events.next();
    if (!seen) co_return seen.failure();
    eventfd_t value = 0;
    if (eventfd_read(fd, &value) == 0) total += value;
  }
  submissions = events.submissions();
  co_return ok;
}

task<void> bell(std::uint64_t& submissions) {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  auto both = when_all(ring_bell(event.get(), 20), hear_bell(event.get(), 20, submissions));
  const auto results = co_await std::move(both);
  const auto& [rung, heard] = *results;
  BOOST_CHECK(rung.has_value() && heard.has_value());
  co_return ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stream)

BOOST_AUTO_TEST_CASE(bytes_of_a_pipe) {
  const auto on = make_loop();
  auto [from, to] = make_pipe();
  std::uint64_t submissions = 0;
  BOOST_TEST(on->run(through_stream(from.get(), std::move(to), {}, submissions)).has_value());
}

BOOST_AUTO_TEST_CASE(bytes_of_a_socket) {
  const auto on = make_loop();
  auto [from, to] = make_sockets();
  byte_stream_options options;
  options.socket = true;
  std::uint64_t submissions = 0;
  BOOST_TEST(on->run(through_stream(from.get(), std::move(to), options, submissions)).has_value());
}

BOOST_AUTO_TEST_CASE(a_file_is_read_without_multishot) {
  const auto on = make_loop();
  std::FILE* const file = std::tmpfile();
  for (std::size_t index = 0; index < 200'000; ++index) std::fputc(static_cast<int>(index % 251), file);
  std::fflush(file);
  lseek(fileno(file), 0, SEEK_SET);
  auto opened = byte_stream::open(fileno(file));
  BOOST_REQUIRE(opened.has_value());
  bool intact = true;
  auto total = on->run(read_all(*opened, intact));
  BOOST_TEST(*total == 200'000U);
  BOOST_TEST(intact);
  BOOST_TEST(!opened->multishot());
  std::fclose(file);
}

BOOST_AUTO_TEST_CASE(a_slow_reader_holds_the_source_back) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(held_back(from.get(), to.get())).has_value());
}

BOOST_AUTO_TEST_CASE(stopping_and_dropping) {
  const auto on = make_loop();
  const auto [from, to] = make_pipe();
  BOOST_TEST(on->run(stopped_and_dropped(from.get(), to.get(), *on)).has_value());
  BOOST_TEST(on->run(a_chunk_outlives_its_stream(from.get(), to.get())).has_value());
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused) {
  const auto on = make_loop();
  byte_stream_options options;
  options.buffers = 3;
  BOOST_TEST(!byte_stream::open(0, options).has_value());
}

BOOST_AUTO_TEST_CASE(readiness_again_and_again) {
  manual_clock clock;
  std::uint64_t submissions = 0;
  BOOST_TEST(make_loop(&clock)->run(bell(submissions)).has_value());
  BOOST_TEST(submissions == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
