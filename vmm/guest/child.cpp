#include "vmm/guest/child.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "vmm/guest/own_class.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const auto& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// What a child that could not become its program says to init.
struct Failure {
  enum Stage : int { kCgroup, kCpus, kNice, kExec } stage;
  int error;
};

// All that the child needs, made before the fork: behind it there are system calls only.
struct Start {
  char* const* argv;
  char* const* environment;
  int out, err, report;
  const char* cgroup;  // its cgroup.procs, or null
  const cpu_set_t* cpus;
  std::size_t cpus_bytes;
  int nice;
};

[[noreturn]] void give_up(const Start& start, Failure::Stage stage) {
  const Failure failure{stage, errno};
  [[maybe_unused]] const auto written = ::write(start.report, &failure, sizeof failure);
  ::_exit(127);
}

void join_cgroup(const Start& start) {
  const int fd = ::open(start.cgroup, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, "0", 1) != 1) give_up(start, Failure::kCgroup);
  ::close(fd);
}

[[noreturn]] void become(const Start& start) {
  stand_below_init();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::setsid();
  if (start.cgroup != nullptr) join_cgroup(start);
  if (start.cpus != nullptr && ::sched_setaffinity(0, start.cpus_bytes, start.cpus) != 0) give_up(start, Failure::kCpus);
  if (start.nice != 0 && ::setpriority(PRIO_PROCESS, 0, start.nice) != 0) give_up(start, Failure::kNice);
  const int in = ::open("/dev/null", O_RDONLY);
  if (in >= 0) {
    ::dup2(in, 0);
    if (in > 2) ::close(in);
  }
  if (::dup2(start.out, 1) >= 0 && ::dup2(start.err, 2) >= 0) ::execvpe(start.argv[0], start.argv, start.environment);
  give_up(start, Failure::kExec);
}

class CpuSet {
 public:
  explicit CpuSet(const std::optional<std::vector<std::uint32_t>>& cpus) {
    if (!cpus || cpus->empty()) return;
    set_ = CPU_ALLOC(cpus->back() + 1);
    bytes_ = CPU_ALLOC_SIZE(cpus->back() + 1);
    CPU_ZERO_S(bytes_, set_);
    for (const std::uint32_t cpu : *cpus) CPU_SET_S(cpu, bytes_, set_);
  }
  ~CpuSet() {
    if (set_ != nullptr) CPU_FREE(set_);
  }
  CpuSet(const CpuSet&) = delete;
  CpuSet& operator=(const CpuSet&) = delete;
  const cpu_set_t* get() const { return set_; }
  std::size_t bytes() const { return bytes_; }

 private:
  cpu_set_t* set_ = nullptr;
  std::size_t bytes_ = 0;
};

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

Child::Child(std::uint32_t process, std::string name, std::uint32_t out_type, std::uint32_t err_type, std::uint32_t end_type)
    : process_(process), name_(std::move(name)), end_type_(end_type) {
  streams_[0].type = out_type;
  streams_[1].type = err_type;
}

void Child::fail_to_start(int errno_value, std::string problem) {
  for (auto& stream : streams_) stream.fd.reset();
  outcome_ = wire::Outcome{wire::Outcome::Kind::kNotStarted, errno_value};
  problem_ = std::move(problem);
}

void Child::start(const std::vector<std::string>& argv, const std::vector<std::string>& environment, const Placement& placement) {
  started_ = true;
  Pipe out;
  Pipe err;
  Pipe report;
  if (!out.open() || !err.open() || !report.open()) return fail_to_start(errno, "no pipes");
  const auto arguments = pointers(argv);
  const auto variables = pointers(environment);
  const std::string cgroup = std::string(kCgroups) + "/" + placement.cgroup + "/cgroup.procs";
  const CpuSet cpus(placement.cpus);
  const Start start{arguments.data(), variables.data(),    out.writer.get(),
                    err.writer.get(), report.writer.get(), placement.cgroup.empty() ? nullptr : cgroup.c_str(),
                    cpus.get(),       cpus.bytes(),        placement.nice};
  pid_ = ::fork();
  if (pid_ < 0) return fail_to_start(errno, "cannot fork");
  if (pid_ == 0) become(start);

  report.writer.reset();
  Failure failure{};
  ssize_t length = 0;
  do length = ::read(report.reader.get(), &failure, sizeof failure);
  while (length < 0 && errno == EINTR);
  put_under_the_scheduler_under_test(pid_);
  if (length == sizeof failure) {
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
    const std::string problems[] = {"cannot join cgroup " + placement.cgroup, "cannot run on these CPUs", "cannot set the nice value",
                                    "cannot execute " + argv.front()};
    return fail_to_start(failure.error, problems[failure.stage]);
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
  if (end_type_ == wire::kProcessEnd)
    port.send(end_type_, wire::encode(wire::ProcessEnd{process_, *outcome_}));
  else
    port.send_message(end_type_, *outcome_);
}

void Child::signal_group(int signal) const {
  if (pid_ > 1) ::kill(-pid_, signal);
}

}  // namespace floe::vmm::guest
