#include "vmm/guest/child.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

namespace floe::vmm::guest {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const auto& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// Between fork and exec: system calls only.
[[noreturn]] void become(char* const* argv, char* const* environment, int out, int err, int report) {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::setsid();
  const int in = ::open("/dev/null", O_RDONLY);
  if (in >= 0) {
    ::dup2(in, 0);
    if (in > 2) ::close(in);
  }
  if (::dup2(out, 1) >= 0 && ::dup2(err, 2) >= 0) ::execvpe(argv[0], argv, environment);
  const int reason = errno;
  [[maybe_unused]] const auto written = ::write(report, &reason, sizeof reason);
  ::_exit(127);
}

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
  bool open() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) return false;
    reader.reset(fds[0]);
    writer.reset(fds[1]);
    return true;
  }
};

}  // namespace

Child::Child(std::string name, std::uint32_t out_type, std::uint32_t err_type, std::uint32_t end_type)
    : name_(std::move(name)), end_type_(end_type) {
  streams_[0].type = out_type;
  streams_[1].type = err_type;
}

void Child::fail_to_start(int errno_value) {
  for (auto& stream : streams_) stream.fd.reset();
  outcome_ = wire::Outcome{wire::Outcome::Kind::kNotStarted, errno_value};
}

void Child::start(const std::vector<std::string>& argv, const std::vector<std::string>& environment) {
  started_ = true;
  Pipe out;
  Pipe err;
  Pipe report;
  if (!out.open() || !err.open() || !report.open()) return fail_to_start(errno);
  const auto arguments = pointers(argv);
  const auto variables = pointers(environment);
  pid_ = ::fork();
  if (pid_ < 0) return fail_to_start(errno);
  if (pid_ == 0) become(arguments.data(), variables.data(), out.writer.get(), err.writer.get(), report.writer.get());

  report.writer.reset();
  int reason = 0;
  ssize_t length = 0;
  do length = ::read(report.reader.get(), &reason, sizeof reason);
  while (length < 0 && errno == EINTR);
  if (length == sizeof reason) {
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
    return fail_to_start(reason);
  }
  ::fcntl(out.reader.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(err.reader.get(), F_SETFL, O_NONBLOCK);
  streams_[0].fd = std::move(out.reader);
  streams_[1].fd = std::move(err.reader);
}

void Child::forward(int stream, Port& port) {
  auto& s = streams_[stream];
  static std::byte buffer[Port::kChunk];
  while (s.fd && !port.full()) {
    const auto length = ::read(s.fd.get(), buffer, sizeof buffer);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
      s.fd.reset();
      s.owed = 0;
      return;
    }
    const auto bytes = static_cast<std::size_t>(length);
    s.owed -= std::min(s.owed, bytes);
    port.send(s.type, {buffer, bytes});
  }
}

void Child::note_end(int status) {
  using Kind = wire::Outcome::Kind;
  outcome_ = WIFSIGNALED(status) ? wire::Outcome{Kind::kSignalled, WTERMSIG(status)} : wire::Outcome{Kind::kExited, WEXITSTATUS(status)};
  // A process that the child left behind may hold the pipes open for ever; what the child itself wrote is in them by now.
  for (auto& stream : streams_) {
    int bytes = 0;
    if (stream.fd && ::ioctl(stream.fd.get(), FIONREAD, &bytes) == 0 && bytes > 0) stream.owed = static_cast<std::size_t>(bytes);
  }
}

void Child::report_when_drained(Port& port) {
  if (!ended() || reported_) return;
  for (int stream = 0; stream < 2; ++stream) {
    if (streams_[stream].owed != 0) forward(stream, port);
  }
  if (streams_[0].owed == 0 && streams_[1].owed == 0) report(port);
}

void Child::report(Port& port) {
  if (!ended() || std::exchange(reported_, true)) return;
  port.send_message(end_type_, *outcome_);
}

void Child::signal_group(int signal) const {
  if (pid_ > 1) ::kill(-pid_, signal);
}

}  // namespace floe::vmm::guest
