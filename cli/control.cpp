#include "cli/control.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

#include "base/file.hpp"
#include "cli/json.hpp"

namespace floe::cli {
namespace {

constexpr const char* kEnding = "the run is ending";

sockaddr_un address_in(int folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder, ControlServer::kName);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

UniqueFd open_folder(const std::string& folder) {
  return UniqueFd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// At once where there is room, as there is for whoever reads its answers: so one that is due when the server stops is sent, too.
engine::task<> send_line(int fd, std::string line) {
  line += '\n';
  const auto put = ::send(fd, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (put < 0 && errno != EAGAIN && errno != EINTR) co_return Error(errno, "sending an answer");
  const auto rest = as_bytes(line).subspan(put < 0 ? 0 : static_cast<std::size_t>(put));
  if (rest.empty()) co_return engine::ok;
  const auto sent = co_await engine::write_all(fd, rest);
  if (!sent) co_return sent.failure();
  co_return engine::ok;
}

// At the server's end: nothing can be asked any more, and what was is refused.
engine::task<> refuse_rest(int fd, std::string heard) {
  ::shutdown(fd, SHUT_RD);
  std::array<char, 1024> buffer;
  for (ssize_t got = 1; got > 0;) {
    got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) heard.append(buffer.data(), static_cast<std::size_t>(got));
  }
  for (auto lines = std::count(heard.begin(), heard.end(), '\n'); lines > 0; --lines) {
    auto refusing = send_line(fd, refusal(kEnding));
    const auto sent = co_await std::move(refusing);
    if (!sent) break;
  }
  co_return engine::ok;
}

// One request after the other, until the other end closes or says what is no line.
engine::task<> converse(UniqueFd connection, RequestHandler handler) {
  std::string heard;
  std::array<std::byte, 1024> buffer;
  for (;;) {
    const auto got = co_await engine::recv(connection.get(), buffer);
    if (got.is_cancelled()) {
      auto refusing = refuse_rest(connection.get(), std::move(heard));
      const auto refused = co_await std::move(refusing);
      (void)refused;
      break;
    }
    if (!got || *got == 0) break;
    heard.append(reinterpret_cast<const char*>(buffer.data()), *got);
    for (auto end = heard.find('\n'); end != heard.npos; end = heard.find('\n')) {
      auto asking = handler(heard.substr(0, end));
      heard.erase(0, end + 1);
      auto answer = co_await engine::shielded(std::move(asking));
      auto answering = send_line(connection.get(), answer ? std::move(*answer) : refusal(kEnding));
      const auto sent = co_await std::move(answering);
      if (!sent) co_return engine::ok;
    }
    if (heard.size() <= ControlServer::kMostLine) continue;
    auto refusing = send_line(connection.get(), refusal("the request is too long"));
    const auto sent = co_await std::move(refusing);
    (void)sent;
    break;
  }
  co_return engine::ok;
}

}  // namespace

std::string request_for_snapshot(const std::string& name) {
  return boost::json::serialize(boost::json::object{{"snapshot", json_text(name)}});
}

std::string refusal(const std::string& error) {
  return boost::json::serialize(boost::json::object{{"ok", false}, {"error", json_text(error)}});
}

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& folder) {
  UniqueFd at = open_folder(folder);
  if (!at) return fail_errno(errno, folder);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "a socket");
  const sockaddr_un address = address_in(at.get());
  const mode_t mask = ::umask(0177);
  const int bound = ::bind(socket.get(), generic(address), sizeof address);
  ::umask(mask);
  if (bound != 0 || ::listen(socket.get(), 128) != 0) return fail_errno(errno, folder + "/" + kName);
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(at), std::move(socket)));
}

ControlServer::~ControlServer() {
  ::unlinkat(folder_.get(), kName, 0);
}

engine::task<> ControlServer::serve(RequestHandler handler) {
  engine::scope connections("control", engine::errors::collect);
  for (;;) {
    auto accepted = co_await engine::accept(socket_.get());
    if (accepted.is_cancelled()) break;
    if (!accepted) {
      const auto rested = co_await engine::sleep_for(std::chrono::milliseconds(100));  // too many files, perhaps
      if (!rested) break;
      continue;
    }
    if (connections.running() < kMostConnections) {
      connections.spawn(converse(std::move(*accepted), handler), "control connection");
      continue;
    }
    auto refusing = send_line(accepted->get(), refusal("too many ask at once: try again"));
    const auto refused = co_await std::move(refusing);
    (void)refused;
  }
  connections.request_stop();
  const auto joined = co_await connections.join();
  (void)joined;
  co_return engine::ok;
}

Result<std::string> ask_run(const std::string& folder, const std::string& request, std::chrono::seconds limit) {
  const UniqueFd at = open_folder(folder);
  if (!at) return fail_errno(errno, folder);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_in(at.get());
  if (!socket || ::connect(socket.get(), generic(address), sizeof address) != 0)
    return fail(Error(errno, fmt::format("{}: no run is under way there ({}: {})", folder, ControlServer::kName, std::strerror(errno))));
  const timeval wait{limit.count(), 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  const auto said = write_fully(socket.get(), as_bytes(request + "\n"), folder);
  if (!said) return fail(said.error());
  std::string answer;
  std::array<char, 1024> buffer;
  while (answer.find('\n') == answer.npos) {
    const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return fail(fmt::format("{}: the run did not answer within {} s", folder, limit.count()));
    if (got <= 0 || answer.size() > ControlServer::kMostLine) return fail(folder + ": the run ended without an answer");
    answer.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return answer.substr(0, answer.find('\n'));
}

}  // namespace floe::cli
