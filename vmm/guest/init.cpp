// /init of the guest: mounts, says hello over console port "floe-tlv", runs the scheduler and the command of /etc/floe/run and what the
// host asks for (control.hpp), forwards what they print, reports how they ended, hands requests of programs on to the host (relay.hpp),
// powers off.
//
//   preparing -> scheduler starting -> running -> terminating (SIGTERM, 2 s) -> killed (SIGKILL, 2 s) -> leaving (bye, flush)
//
// One poll loop drives all of it: the port, the children's pipes, the socket, SIGCHLD, and at most one deadline per phase. As PID 1 it
// never exits: what cannot go on is said on the console and ends in power-off.
#include "vmm/guest/init.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "vmm/guest/child.hpp"
#include "vmm/guest/clock.hpp"
#include "vmm/guest/console.hpp"
#include "vmm/guest/control.hpp"
#include "vmm/guest/hello.hpp"
#include "vmm/guest/mounts.hpp"
#include "vmm/guest/own_class.hpp"
#include "vmm/guest/port.hpp"
#include "vmm/guest/processes.hpp"
#include "vmm/guest/relay.hpp"
#include "vmm/guest/small_files.hpp"
#include "vmm/guest_plan.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm::guest {
namespace {

constexpr const char* kSchedExtState = "/sys/kernel/sched_ext/state";
constexpr int kErrorLevel = 3;
constexpr int kWarning = 4;
constexpr int kInformation = 6;
constexpr std::int64_t kAttachMs = 20'000;
constexpr std::int64_t kAttachLookMs = 10;
constexpr std::int64_t kTermMs = 2'000;
constexpr std::int64_t kKillMs = 2'000;
constexpr std::int64_t kFlushMs = 30'000;  // without a byte taken by the host
constexpr std::int64_t kAwayMs = 20;

class Init {
 public:
  [[noreturn]] void run();

 private:
  enum class Phase { kPreparing, kSchedulerStarting, kRunning, kTerminating, kKilled, kLeaving };

  void prepare();
  Result<GuestPlan> read_plan();
  void log(int level, const std::string& text);

  void start_scheduler();
  void look_at_scheduler();
  void start_command();
  void go_on();
  void stop(const std::string& why);
  void kill_all(const std::string& why);
  void leave();
  void check_flush();

  int wait_ms() const;
  void wait_and_serve();
  void serve_port(short events);
  void serve_signals();

  bool overdue() const { return deadline_ != kNever && now_ms() >= deadline_; }

  Phase phase_ = Phase::kPreparing;
  std::int64_t deadline_ = kNever;  // of this phase
  Port port_;
  UniqueFd signals_;
  GuestPlan plan_;
  std::vector<std::string> environment_;
  std::uint64_t unknown_frames_ = 0;
  Processes processes_{port_};
  Control control_{port_, processes_};
  Relay relay_{port_};
  Child& scheduler_ = processes_.add(wire::kRunScheduler, "the scheduler", wire::kSchedulerOut, wire::kSchedulerErr, wire::kSchedulerExit);
  Child& command_ = processes_.add(wire::kRunCommand, "the command", wire::kWorkloadOut, wire::kWorkloadErr, wire::kWorkloadResult);
};

void Init::log(int level, const std::string& text) {
  port_.send_message(wire::kLogLine, wire::LogLine{static_cast<std::uint8_t>(level), text});
}

Result<GuestPlan> Init::read_plan() {
  struct stat info{};
  if (::stat(GuestPlan::kPath, &info) != 0) return fail(with_errno(GuestPlan::kPath, errno));
  const std::string bytes = slurp(GuestPlan::kPath, GuestPlan::kMaxBytes + 1);
  if (bytes.size() != static_cast<std::size_t>(info.st_size)) return fail(std::string(GuestPlan::kPath) + ": cannot be read whole");
  return decode_guest_plan(std::as_bytes(std::span(bytes)));
}

void Init::prepare() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(022);

  auto complaints = mount_all();
  auto plan = read_plan();
  if (plan && plan->hostname && ::sethostname(plan->hostname->data(), plan->hostname->size()) != 0) {
    complaints.push_back(with_errno("cannot set the hostname", errno));
  }
  complaints.push_back(loopback_up());
  if (auto left = leave_the_scheduler_under_test(); !left) complaints.push_back(left.error().message);
  if (auto listening = relay_.listen(); !listening) complaints.push_back("no socket for floe-guest: " + listening.error().message);

  signals_.reset(::signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) fatal(with_errno("signalfd", errno));
  if (auto opened = port_.open(); !opened) fatal(opened.error().message);
  port_.send_message(wire::kHello, hello());
  for (const auto& complaint : complaints) {
    if (!complaint.empty()) log(kWarning, complaint);
  }
  if (!plan) {
    say(kErrorLevel, plan.error().message);
    log(kErrorLevel, plan.error().message);
    return leave();
  }
  plan_ = std::move(*plan);
  environment_ = merge_environment(plan_.environment);
  control_.set_environment(environment_);
  for (const auto& entry : environment_) {
    if (entry.starts_with("PATH=")) ::setenv("PATH", entry.c_str() + 5, 1);  // execvpe searches in the caller's
  }
  plan_.scheduler.empty() ? start_command() : start_scheduler();
}

void Init::start_scheduler() {
  phase_ = Phase::kSchedulerStarting;
  scheduler_.start(plan_.scheduler, environment_);
  deadline_ = now_ms() + kAttachMs;
  if (scheduler_.ended()) return log(kErrorLevel, plan_.scheduler.front() + " " + describe(*scheduler_.outcome()));
  if (::access(kSchedExtState, R_OK) == 0) return;
  log(kWarning, "this kernel has no sched_ext (" + with_errno(kSchedExtState, errno) + "): nothing to wait for");
  start_command();
}

// While the scheduler is starting: enabled, ended, overdue, or not yet any of these.
void Init::look_at_scheduler() {
  if (scheduler_.ended()) {
    if (scheduler_.succeeded()) return start_command();
    // Whether that ends the run is the host's to say; a command under the wrong scheduler would tell nothing.
    log(kErrorLevel, "the scheduler ended before it was enabled: the command is not started");
    phase_ = Phase::kRunning;
    deadline_ = kNever;
    return;
  }
  if (slurp(kSchedExtState, 64).starts_with("enabled")) {
    std::string name = slurp("/sys/kernel/sched_ext/root/ops", 256);
    if (!name.empty() && name.back() == '\n') name.pop_back();
    log(kInformation, "sched_ext is enabled" + (name.empty() ? name : ": " + name));
    return start_command();
  }
  if (!overdue()) return;
  log(kWarning, "the scheduler is not enabled after " + std::to_string(kAttachMs / 1000) + " s: going on without");
  start_command();
}

void Init::start_command() {
  phase_ = Phase::kRunning;
  deadline_ = kNever;
  if (plan_.command.empty()) return;
  command_.start(plan_.command, environment_);
  if (command_.ended()) log(kErrorLevel, plan_.command.front() + " " + describe(*command_.outcome()));
}

void Init::stop(const std::string& why) {
  if (phase_ >= Phase::kTerminating) return;
  log(kInformation, "stopping: " + why);
  phase_ = Phase::kTerminating;
  deadline_ = now_ms() + kTermMs;
  processes_.signal_all(SIGTERM);
}

void Init::kill_all(const std::string& why) {
  if (!why.empty()) log(kWarning, why);
  phase_ = Phase::kKilled;
  deadline_ = now_ms() + kKillMs;
  ::kill(-1, SIGKILL);
}

void Init::leave() {
  for (const auto& line : processes_.report_last()) log(kErrorLevel, line);
  if (unknown_frames_ != 0) log(kWarning, std::to_string(unknown_frames_) + " frames of types that init does not know");
  port_.send(wire::kBye, {});
  phase_ = Phase::kLeaving;
  deadline_ = now_ms() + kFlushMs;
}

void Init::check_flush() {
  port_.flush();
  if (port_.pending() != 0 && !overdue()) return;
  if (port_.pending() != 0) say(kErrorLevel, "the host took nothing for 30 s: " + std::to_string(port_.pending()) + " bytes are lost");
  // Closing tells the host over the control queue and waits until it has taken that; what was written came before.
  port_.close();
  power_off();
}

// What the phase does about how things are now.
void Init::go_on() {
  processes_.report();
  control_.look();
  relay_.expire();
  switch (phase_) {
    case Phase::kPreparing:
      prepare();
      break;
    case Phase::kSchedulerStarting:
      look_at_scheduler();
      break;
    case Phase::kRunning:
      if (command_.reported()) stop("the command ended");
      break;
    case Phase::kTerminating:
      if (processes_.all_quiet())
        kill_all({});
      else if (overdue())
        kill_all("something was still running 2 s after SIGTERM");
      break;
    case Phase::kKilled:
      if (processes_.all_quiet() || overdue()) leave();
      break;
    case Phase::kLeaving:
      check_flush();
      break;
  }
}

int Init::wait_ms() const {
  std::int64_t until = earlier(earlier(deadline_, control_.next_look()), relay_.next_deadline());
  if (phase_ == Phase::kSchedulerStarting) until = earlier(until, now_ms() + kAttachLookMs);
  if (port_.away()) until = earlier(until, now_ms() + kAwayMs);
  constexpr std::int64_t kMostMs = 3'600'000;
  return until == kNever ? -1 : static_cast<int>(std::clamp<std::int64_t>(until - now_ms(), 0, kMostMs));
}

void Init::wait_and_serve() {
  enum { kPort, kSignals, kOthers };
  std::vector<pollfd> fds(kOthers);
  fds[kPort] = {port_.poll_fd(), static_cast<short>(POLLIN | (port_.pending() != 0 ? POLLOUT : 0)), 0};
  fds[kSignals] = {signals_.get(), POLLIN, 0};
  processes_.add_fds(fds, !port_.full() && phase_ != Phase::kLeaving);  // nothing follows the bye
  const std::size_t clients = fds.size();
  relay_.add_fds(fds);
  const int ready = ::poll(fds.data(), fds.size(), wait_ms());
  if (ready < 0 && errno != EINTR) fatal(with_errno("poll", errno));
  port_.look_again();
  if (ready <= 0) return;
  processes_.serve(fds.data() + kOthers);
  relay_.serve(fds.data() + clients);
  if (fds[kSignals].revents != 0) serve_signals();
  serve_port(fds[kPort].revents);
}

void Init::serve_port(short events) {
  if ((events & POLLIN) != 0) {
    port_.receive();
    while (const auto frame = port_.next()) {
      if (relay_.take(*frame)) continue;
      if (frame->type == wire::kStop)
        stop("the host asks for it");
      else if (frame->type == wire::kControlRequest)
        control_.handle(frame->payload);
      else
        ++unknown_frames_;
    }
  }
  if ((events & (POLLHUP | POLLERR)) != 0) port_.receive();  // finds out whether the host's end is closed
  const bool moved = port_.pending() != 0 && port_.flush() != 0;
  if (moved && phase_ == Phase::kLeaving) deadline_ = now_ms() + kFlushMs;
}

void Init::serve_signals() {
  signalfd_siginfo info[16];
  while (::read(signals_.get(), info, sizeof info) > 0) {
  }
  for (const auto& line : processes_.reap()) log(kInformation, line);
}

void Init::run() {
  for (;;) {
    Phase before;
    do {
      before = phase_;
      go_on();
    } while (phase_ != before);
    port_.flush();
    wait_and_serve();
  }
}

}  // namespace
}  // namespace floe::vmm::guest

namespace {

// A fault of init itself must not become "Attempted to kill init", which would be told as the guest's panic. Nothing here allocates.
void crashed(int) {
  static constexpr char kText[] = "<3>floe-init: bug: init crashed; powering off\n";
  for (const char* path : {"/dev/kmsg", "/dev/console"}) {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    [[maybe_unused]] const auto written = ::write(fd, kText, sizeof kText - 1);
  }
  ::sync();
  ::reboot(RB_POWER_OFF);
  for (;;) ::pause();
}

void install_crash_handlers() {
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) ::signal(number, crashed);
  std::set_terminate([] { crashed(0); });
  std::set_new_handler([] { crashed(0); });
}

}  // namespace

namespace floe::vmm::guest {

void run_init() {
  install_crash_handlers();
  static Init init;
  init.run();
}

}  // namespace floe::vmm::guest
