// Every operation, on real descriptors.
#include "engine/ops.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::engine;
using namespace floe::engine::testing;

// Inside the namespace, because the operations share their names with libc's calls.
namespace floe::engine {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::string text(std::span<const std::byte> from) {
  return std::string(reinterpret_cast<const char*>(from.data()), from.size());
}

struct folder {
  folder() {
    std::string pattern = "/tmp/floe-ops-XXXXXX";
    path = mkdtemp(pattern.data());
    fd = UniqueFd(open(path.c_str(), O_DIRECTORY | O_CLOEXEC));
  }
  ~folder() { std::system(("rm -rf " + path).c_str()); }
  std::string path;
  UniqueFd fd;
};

task<void> files(int where) {
  auto opened = co_await openat(where, "a", O_RDWR | O_CREAT, 0600);
  BOOST_CHECK(opened.has_value());
  if (!opened) co_return std::move(opened).failure();
  const int fd = opened->get();

  const auto first = bytes("hello ");
  const auto put = co_await write(fd, first, 0);
  BOOST_CHECK(put.has_value() && *put == 6);
  std::string left = "wor", right = "ld!";
  const std::array<iovec, 2> out = {iovec{left.data(), left.size()}, iovec{right.data(), right.size()}};
  const auto more = co_await writev(fd, out, 6);
  BOOST_CHECK(more.has_value() && *more == 6);
  const auto synced = co_await fsync(fd);
  BOOST_CHECK(synced.has_value());
  const auto data_synced = co_await fdatasync(fd);
  BOOST_CHECK(data_synced.has_value());

  std::array<std::byte, 5> one{};
  std::array<std::byte, 20> two{};
  const std::array<iovec, 2> in = {iovec{one.data(), one.size()}, iovec{two.data(), two.size()}};
  const auto got = co_await readv(fd, in, 0);
  BOOST_CHECK(got.has_value() && *got == 12);
  BOOST_TEST(text(one) == "hello");
  BOOST_TEST(text(std::span(two).first(7)) == " world!");

  const auto tail = bytes("ppp");
  const auto appended = co_await write_all(fd, tail, 12);
  BOOST_CHECK(appended.has_value());
  std::array<std::byte, 64> all{};
  const auto full = co_await read_full(fd, all);
  BOOST_CHECK(full.has_value() && *full == 15);

  const auto renamed = co_await renameat(where, "a", where, "b");
  BOOST_CHECK(renamed.has_value());
  const auto closed = co_await close(std::move(*opened));
  BOOST_CHECK(closed.has_value());
  const auto gone = co_await openat(where, "a", O_RDONLY);
  BOOST_CHECK(gone.is_error());
  BOOST_TEST(gone.error().code == ENOENT);
  BOOST_TEST(gone.error().message == "open a: No such file or directory");
  const auto there = co_await openat(where, "b", O_RDONLY);
  BOOST_CHECK(there.has_value());
  const auto nowhere = co_await renameat(where, "missing", where, "c");
  BOOST_TEST(nowhere.error().message == "rename missing: No such file or directory");
  co_return ok;
}

task<void> fixed_files(UniqueFd from, UniqueFd to) {
  auto reader = fixed_file::add(from.get());
  auto writer = fixed_file::add(to.get());
  BOOST_CHECK(reader.has_value() && writer.has_value());
  from.reset();
  to.reset();  // the table holds the files now

  auto stream = byte_stream::open(*reader);
  const auto hello = bytes("hello");
  const auto put = co_await write(*writer, hello);
  BOOST_CHECK(put.has_value() && *put == 5);
  {
    const auto piece = co_await stream->next();
    BOOST_CHECK(piece.has_value() && text(piece->bytes()) == "hello");
  }
  {
    const fixed_file last = std::move(*writer);
  }
  const auto end = co_await stream->next();
  BOOST_CHECK(end.has_value() && end->at_end());

  std::array<std::byte, 4> buffer{};
  const auto refused = co_await read(file_ref::fixed(200), buffer);
  BOOST_CHECK(refused.is_error());
  BOOST_TEST(refused.error().message == "read fixed file 200: Bad file descriptor");
  co_return ok;
}

task<void> fill_the_table(int fd) {
  std::vector<fixed_file> all;
  for (int count = 0; count < 256; ++count) {
    auto added = fixed_file::add(fd);
    BOOST_REQUIRE(added.has_value());
    all.push_back(std::move(*added));
  }
  const auto full = fixed_file::add(fd);
  BOOST_REQUIRE(!full.has_value());
  BOOST_TEST(full.error().code == ENFILE);
  all.pop_back();
  BOOST_TEST(fixed_file::add(fd).has_value());
  BOOST_TEST(!fixed_file::add(9999).has_value());
  const auto turn = co_await nop();
  BOOST_CHECK(turn.has_value());
  co_return ok;
}

task<void> bad_descriptor() {
  std::array<std::byte, 4> buffer{};
  const auto got = co_await read(9999, buffer);
  BOOST_CHECK(got.is_error());
  BOOST_TEST(got.error().code == EBADF);
  BOOST_TEST(got.error().message == "read fd 9999: Bad file descriptor");
  co_return ok;
}

task<std::string> answer_one(int listener) {
  auto accepted = co_await accept(listener);
  if (!accepted) co_return std::move(accepted).failure();
  std::array<std::byte, 16> buffer{};
  const auto got = co_await recv(accepted->get(), buffer);
  if (!got) co_return got.failure();
  const auto reply = bytes("pong");
  const auto sent = co_await send(accepted->get(), reply);
  if (!sent) co_return sent.failure();
  co_return text(std::span(buffer).first(*got));
}

task<std::string> ask(int fd, const sockaddr_un& where) {
  const auto connected = co_await floe::engine::connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof where);
  if (!connected) co_return connected.failure();
  const auto question = bytes("ping");
  const auto sent = co_await send(fd, question);
  if (!sent) co_return sent.failure();
  std::array<std::byte, 16> buffer{};
  const auto got = co_await recv(fd, buffer);
  if (!got) co_return got.failure();
  co_return text(std::span(buffer).first(*got));
}

task<void> sockets(const std::string& path) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::strncpy(where.sun_path, path.c_str(), sizeof where.sun_path - 1);
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  BOOST_CHECK(bind(listener.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0);
  BOOST_CHECK(listen(listener.get(), 4) == 0);
  const UniqueFd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto both = when_all(answer_one(listener.get()), ask(client.get(), where));
  const auto results = co_await std::move(both);
  const auto& [served, asked] = *results;
  BOOST_CHECK(served.has_value() && *served == "ping");
  BOOST_CHECK(asked.has_value() && *asked == "pong");
  co_return ok;
}

task<void> write_later(int fd) {
  const auto turn = co_await sleep_for(std::chrono::seconds(1));
  if (!turn) co_return turn.failure();
  eventfd_write(fd, 3);
  co_return ok;
}

task<void> polls() {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  auto both = when_all(write_later(event.get()), [](int fd) -> task<void> {
    const auto ready = co_await poll(fd, POLLIN);
    BOOST_CHECK(ready.has_value() && *ready == POLLIN);
    co_return ok;
  }(event.get()));
  const auto results = co_await std::move(both);
  BOOST_CHECK(results.has_value());
  co_return ok;
}

// Far more than a pipe holds: several partial writes.
task<void> pump(int from, int to) {
  std::vector<std::byte> out(300'000, std::byte{42});
  std::vector<std::byte> in(out.size());
  const std::span<const std::byte> source(out);
  const std::span<std::byte> sink(in);
  auto both = when_all(write_all(to, source), read_full(from, sink));
  const auto results = co_await std::move(both);
  const auto& [written, taken] = *results;
  BOOST_CHECK(written.has_value());
  BOOST_CHECK(taken.has_value() && *taken == out.size());
  BOOST_CHECK(in == out);
  co_return ok;
}

task<void> nops(int count) {
  for (int done = 0; done < count; ++done) {
    const auto did = co_await nop();
    BOOST_CHECK(did.has_value());
  }
  co_return ok;
}

task<void> crowd(int tasks) {
  scope all("crowd");
  for (int index = 0; index < tasks; ++index) all.spawn(nops(10), "nops");
  const auto joined = co_await all.join();
  BOOST_CHECK(joined.has_value());
  co_return ok;
}

}  // namespace
}  // namespace floe::engine

BOOST_AUTO_TEST_SUITE(ops)

BOOST_AUTO_TEST_CASE(fixed_files_serve_as_descriptors_do) {
  const auto on = make_loop();
  auto pipe = make_pipe();
  BOOST_TEST(on->run(fixed_files(std::move(pipe.from), std::move(pipe.to))).has_value());
}

BOOST_AUTO_TEST_CASE(the_table_of_fixed_files_has_an_end) {
  const auto on = make_loop();
  const auto pipe = make_pipe();
  BOOST_TEST(on->run(fill_the_table(pipe.from.get())).has_value());
}

BOOST_AUTO_TEST_CASE(on_files) {
  const folder in;
  BOOST_TEST(make_loop()->run(files(in.fd.get())).has_value());
}

BOOST_AUTO_TEST_CASE(errors_name_the_culprit) {
  BOOST_TEST(make_loop()->run(bad_descriptor()).has_value());
}

BOOST_AUTO_TEST_CASE(on_sockets) {
  const folder in;
  BOOST_TEST(make_loop()->run(sockets(in.path + "/s")).has_value());
}

BOOST_AUTO_TEST_CASE(poll_waits_for_readiness) {
  manual_clock clock;
  BOOST_TEST(make_loop(&clock)->run(polls()).has_value());
}

BOOST_AUTO_TEST_CASE(write_all_writes_all) {
  const auto [from, to] = make_pipe();
  BOOST_TEST(make_loop()->run(pump(from.get(), to.get())).has_value());
}

BOOST_AUTO_TEST_CASE(a_full_submission_queue_is_flushed) {
  loop_options options;
  options.submission_entries = 8;
  options.completion_entries = 64;
  const auto on = make_loop(options);
  BOOST_TEST(on->run(crowd(500)).has_value());
  BOOST_TEST(on->counters().flushes > 0U);
  BOOST_TEST(on->counters().operations == 5000U);
  BOOST_TEST(on->counters().completions >= 5000U);
}

BOOST_AUTO_TEST_SUITE_END()
