#include "cli/link.hpp"

#include <sys/socket.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "base/atomic_file.hpp"
#include "base/file.hpp"

using namespace floe;
using namespace floe::cli;
namespace wire = floe::vmm::wire;

namespace {

std::string fresh_folder(const char* name) {
  const auto path = std::filesystem::temp_directory_path() / (std::string("floe-test-") + name + std::to_string(::getpid()));
  std::filesystem::remove_all(path);
  return path.string();
}

engine::task<> serve_and_close(cli::link::LinkServer& server, RunFolder& folder) {
  const auto served = co_await server.serve();
  folder.close();
  const auto written = co_await folder.serve();
  if (!served) co_return served.failure();
  if (!written) co_return written.failure();
  co_return engine::ok;
}

engine::task<> start_over(RunFolder& folder) {
  engine::scope writing("folder");
  writing.spawn(folder.serve(), "serve");
  const auto moved = co_await folder.start_over();
  folder.append("console.log", "second\n");
  folder.close();
  const auto written = co_await writing.join();
  if (!moved) co_return moved.failure();
  if (!written) co_return written.failure();
  co_return engine::ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(outer_link)

BOOST_AUTO_TEST_CASE(a_name_cannot_leave_the_folder) {
  for (const char* good : {"console.log", "snapshots/000001.floesnap", "a-b_c.1"}) BOOST_TEST(cli::link::valid_name(good));
  for (const char* bad : {"", "/etc/passwd", "../x", "snapshots/../../x", ".hidden", "a//b", "a b", "a\nb"})
    BOOST_TEST(!link::valid_name(bad));
  BOOST_TEST(!link::valid_name(std::string(300, 'a')));
}

BOOST_AUTO_TEST_CASE(flags_that_no_cpu_has_are_told_from_those_one_has) {
  BOOST_TEST(cli::link::has_impossible_flags("RSP: 0018:ff4f4483c07fbb20 EFLAGS: 9f2b7e42\n"));
  BOOST_TEST(!cli::link::has_impossible_flags("RSP: 0018:ff4f4483c07fbb20 EFLAGS: 00010246\n"));
  BOOST_TEST(!cli::link::has_impossible_flags("EFLAGS: 00200286 and no more"));
  BOOST_TEST(!cli::link::has_impossible_flags("EFLAGS: "));
}

BOOST_AUTO_TEST_CASE(a_first_try_is_set_aside_whole) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  const std::string path = fresh_folder("aside");
  auto folder = LocalFolder::create(path);
  BOOST_REQUIRE(folder.has_value());
  (*folder)->append("console.log", "first\n");
  BOOST_TEST((*folder)->write_whole("manifest.json", as_bytes("{}")).has_value());
  BOOST_TEST((*loop)->run(start_over(**folder)).has_value());
  BOOST_TEST(read_text(path + "/first-try/console.log").value() == "first\n");
  BOOST_TEST(read_text(path + "/first-try/manifest.json").value() == "{}");
  BOOST_TEST(read_text(path + "/console.log").value() == "second\n");
  folder->reset();
  std::filesystem::remove_all(path);
}

BOOST_AUTO_TEST_CASE(files_logs_and_the_verdict_arrive_and_nothing_else_does) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  const std::string path = fresh_folder("link");
  auto folder = LocalFolder::create(path);
  BOOST_REQUIRE(folder.has_value());
  int pair[2];
  BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);

  std::vector<std::byte> stream;
  wire::Encoder encoder;
  const auto send = [&](std::uint32_t type, std::span<const std::byte> payload) { BOOST_REQUIRE(encoder.encode(type, payload, stream)); };
  const auto append = [&](const std::string& name, const std::string& text) {
    std::vector<std::byte> payload;
    wire::Writer(payload).string(name);
    const auto bytes = as_bytes(text);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    send(cli::link::kAppend, payload);
  };
  send(cli::link::kReady, {});
  append("console.log", "one\n");
  append("../escape.log", "no\n");
  append("console.log", "two\n");
  send(cli::link::kBegin, as_bytes("snapshots/a.floesnap"));
  send(cli::link::kData, as_bytes("who"));
  send(cli::link::kData, as_bytes("le"));
  send(cli::link::kCommit, {});
  send(cli::link::kBegin, as_bytes("snapshots/b.floesnap"));
  send(cli::link::kData, as_bytes("half"));
  std::vector<std::byte> verdict_bytes;
  wire::Writer writer(verdict_bytes);
  writer.u32(6);
  writer.string("Kernel panic");
  send(cli::link::kVerdict, verdict_bytes);
  BOOST_REQUIRE(write_fully(theirs.get(), stream, "the link").has_value());
  theirs.reset();

  {
    cli::link::LinkServer server(ours.get(), **folder);
    BOOST_TEST((*loop)->run(serve_and_close(server, **folder)).has_value());
    BOOST_TEST(server.ready());
    BOOST_TEST(!server.hello());
    BOOST_REQUIRE(server.verdict().has_value());
    BOOST_TEST((server.verdict()->code == Exit::kGuestPanic));
    BOOST_TEST(server.verdict()->reason == "Kernel panic");
  }
  BOOST_TEST(read_text(path + "/console.log").value() == "one\ntwo\n");
  BOOST_TEST(read_text(path + "/snapshots/a.floesnap").value() == "whole");
  BOOST_TEST(!std::filesystem::exists(path + "/snapshots/b.floesnap"));           // never completed: absent
  BOOST_TEST(!std::filesystem::exists(path + "/snapshots/b.floesnap.floepart"));  // and no rest of it
  BOOST_TEST(!std::filesystem::exists(std::filesystem::path(path).parent_path() / "escape.log"));
  folder->reset();
  std::filesystem::remove_all(path);
}

// A disk that is full, for example. One file stands where the folder of the snapshots would.
BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_out_here_is_told_and_costs_the_snapshots_not_the_manifest) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  const std::string path = fresh_folder("refused");
  auto folder = LocalFolder::create(path);
  BOOST_REQUIRE(folder.has_value());
  BOOST_REQUIRE(write_file(path + "/snapshots", as_bytes("in the way")).has_value());
  int pair[2];
  BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  std::vector<std::byte> stream;
  wire::Encoder encoder;
  for (const char* name : {"snapshots/pages.floepages", "snapshots/000001.floesnap", "manifest.json"}) {
    BOOST_REQUIRE(encoder.encode(cli::link::kBegin, as_bytes(name), stream));
    BOOST_REQUIRE(encoder.encode(cli::link::kData, as_bytes("{}"), stream));
    BOOST_REQUIRE(encoder.encode(cli::link::kCommit, {}, stream));
  }
  BOOST_REQUIRE(write_fully(theirs.get(), stream, "the link").has_value());
  theirs.reset();
  {
    cli::link::LinkServer server(ours.get(), **folder);
    BOOST_TEST((*loop)->run(serve_and_close(server, **folder)).has_value());
    BOOST_TEST(server.manifest_written());
  }
  BOOST_REQUIRE((*folder)->errors().size() == 1u);
  BOOST_TEST((*folder)->errors()[0].find("snapshots") != std::string::npos);
  BOOST_TEST(read_text(path + "/manifest.json").value() == "{}");
  folder->reset();
  std::filesystem::remove_all(path);
}

BOOST_AUTO_TEST_SUITE_END()
