#include "cli/control.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <thread>

#include "base/file.hpp"
#include "tests/folder.hpp"

using namespace floe;
using namespace floe::cli;
using namespace std::chrono_literals;

namespace {

// The other end, without a loop.
class Client {
 public:
  explicit Client(const std::string& folder) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const UniqueFd at(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = fmt::format("/proc/self/fd/{}/{}", at.get(), ControlServer::kName);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    connected_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }

  // Whether it was sent: whole or not at all, for it is short.
  bool ask(const std::string& line) {
    const std::string text = line + "\n";
    return ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // The next line, or what was left when the server closed.
  std::string hear() {
    std::array<char, 256> buffer;
    while (heard_.find('\n') == heard_.npos) {
      const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (got <= 0) return std::exchange(heard_, {});
      heard_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    const std::string line = heard_.substr(0, heard_.find('\n'));
    heard_.erase(0, line.size() + 1);
    return line;
  }

 private:
  UniqueFd socket_;
  std::string heard_;
  bool connected_ = false;
};

engine::task<std::string> echo(std::string request) {
  const auto slept = co_await engine::sleep_for(200us);
  co_return (slept ? "to " : "stopped at ") + request;
}

// Serves until `enough` says so, with requests under way.
engine::task<> serve_until(ControlServer& server, std::atomic<bool>& enough) {
  engine::scope serving("server");
  const RequestHandler handler = [](std::string request) { return echo(std::move(request)); };
  serving.spawn(server.serve(handler), "server");
  while (!enough) {
    const auto slept = co_await engine::sleep_for(1ms);
    if (!slept) break;
  }
  serving.request_stop();
  const auto ended = co_await serving.join();
  (void)ended;
  co_return engine::ok;
}

struct Tally {
  unsigned asked = 0, answered = 0, refused = 0;
  std::string wrong;
};

struct Progress {
  std::atomic<unsigned> answers = 0, begun = 0;  // begun: clients that have had their first answer
};

// Asks ahead of the answers, until nothing can be sent any more; then hears the rest.
void ask_on(const std::string& folder, Tally& tally, Progress& progress) {
  Client client(folder);
  if (!client.connected()) return;
  const auto hear = [&](unsigned number) {
    const std::string line = client.hear();
    if (line == fmt::format("to {}", number)) {
      ++tally.answered;
      ++progress.answers;
      if (number == 0) ++progress.begun;
    } else if (line == refusal("the run is ending")) {
      ++tally.refused;
    } else {
      tally.wrong += fmt::format("{}: '{}'; ", number, line);
    }
  };
  constexpr unsigned kAhead = 8;
  unsigned heard = 0;
  while (client.ask(std::to_string(tally.asked))) {
    ++tally.asked;
    if (tally.asked - heard == kAhead) hear(heard++);
  }
  while (heard < tally.asked) hear(heard++);
  const std::string more = client.hear();
  if (!more.empty()) tally.wrong += "one more: " + more;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(control)

BOOST_AUTO_TEST_CASE(every_request_of_several_connections_is_answered_once_also_at_the_end) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  const test::Folder folder;
  auto server = ControlServer::listen(folder.path().string());
  BOOST_REQUIRE_MESSAGE(server.has_value(), (server ? "" : server.error().message));
  std::atomic<bool> enough = false;
  Progress progress;
  std::array<Tally, 8> tallies;
  std::vector<std::thread> threads;
  for (Tally& tally : tallies) threads.emplace_back(ask_on, folder.path().string(), std::ref(tally), std::ref(progress));
  std::thread ending([&] {
    while (progress.answers < 400 || progress.begun < tallies.size()) std::this_thread::sleep_for(1ms);
    enough = true;
  });
  BOOST_TEST((*loop)->run(serve_until(**server, enough)).has_value());
  server->reset();
  ending.join();
  for (auto& thread : threads) thread.join();
  unsigned refused = 0;
  for (const Tally& tally : tallies) {
    BOOST_TEST(tally.wrong == "");
    BOOST_TEST(tally.answered + tally.refused == tally.asked);
    refused += tally.refused;
  }
  BOOST_TEST(progress.answers >= 400u);
  BOOST_TEST(refused > 0u);  // the end came while somebody was asking
}

BOOST_AUTO_TEST_SUITE_END()
