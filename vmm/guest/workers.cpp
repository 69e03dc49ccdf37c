#include "vmm/guest/workers.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

namespace floe::vmm::guest {
namespace {

constexpr unsigned kMostWorkers = 4096;
constexpr unsigned long kMostPeriodUs = 3'600'000'000;

void nap(unsigned long us) {
  const timespec time = {static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
  ::nanosleep(&time, nullptr);
}

[[noreturn]] void spin(unsigned long) {
  for (volatile unsigned turns = 0;;) turns = turns + 1;
}

[[noreturn]] void sleep_and_wake(unsigned long period_us) {
  for (;;) nap(period_us != 0 ? period_us : 1000);
}

[[noreturn]] void yield(unsigned long) {
  for (;;) ::sched_yield();
}

// A byte that goes round between two.
[[noreturn]] void ping_pong(unsigned long) {
  int there[2], back[2];
  if (::pipe(there) != 0 || ::pipe(back) != 0) ::_exit(1);
  const pid_t partner = ::fork();
  if (partner < 0) ::_exit(1);
  if (partner == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int from = partner == 0 ? there[0] : back[0];
  const int to = partner == 0 ? back[1] : there[1];
  char byte = 0;
  if (partner != 0 && ::write(to, &byte, 1) != 1) ::_exit(1);
  for (;;) {
    if (::read(from, &byte, 1) != 1 || ::write(to, &byte, 1) != 1) ::_exit(1);
  }
}

[[noreturn]] void fork_storm(unsigned long period_us) {
  for (;;) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    if (child > 0)
      ::waitpid(child, nullptr, 0);
    else
      nap(1000);  // no memory, or no number for it: others have to end first
    if (period_us != 0) nap(period_us);
  }
}

struct Kind {
  std::string_view name;
  void (*work)(unsigned long period_us);
};
constexpr Kind kKinds[] = {
    {"spin", spin}, {"sleep-wake", sleep_and_wake}, {"yield", yield}, {"pipe-ping-pong", ping_pong}, {"fork-storm", fork_storm}};

bool number(std::string_view text, unsigned long most, unsigned long& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value <= most;
}

volatile std::sig_atomic_t told_to_end = 0;
void on_term(int) {
  told_to_end = 1;
}

[[noreturn]] void become(const Kind& kind, const char* name, unsigned long period_us, const sigset_t& mask) {
  ::signal(SIGTERM, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, name);
  kind.work(period_us);
  ::_exit(1);
}

// Until SIGTERM; a worker that ends by itself is a failure.
int wait_for_the_end(const std::vector<pid_t>& workers, const sigset_t& mask) {
  while (told_to_end == 0) {
    if (::waitpid(-1, nullptr, WNOHANG) > 0 && told_to_end == 0) {
      std::fprintf(stderr, "floe-guest: a worker ended\n");
      return 1;
    }
    ::sigsuspend(&mask);  // SIGTERM and SIGCHLD come here alone
  }
  for (const pid_t worker : workers) ::kill(worker, SIGTERM);
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  return 0;
}

void on_child(int) {}

}  // namespace

int run_workers(int argc, char** argv) {
  const Kind* kind = nullptr;
  for (const Kind& each : kKinds) {
    if (argc >= 2 && each.name == argv[1]) kind = &each;
  }
  unsigned long count = 0, period_us = 0;
  const bool sound =
      (argc == 3 || argc == 4) && number(argv[2], kMostWorkers, count) && (argc == 3 || number(argv[3], kMostPeriodUs, period_us));
  if (kind == nullptr || !sound) {
    std::fputs(kWorkerUsage, stderr);
    return 2;
  }
  sigset_t mask, blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigaddset(&blocked, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &blocked, &mask);
  struct sigaction action{};
  action.sa_handler = on_term;
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_child;
  ::sigaction(SIGCHLD, &action, nullptr);
  std::vector<pid_t> workers;
  for (unsigned long i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    if (child < 0) {
      std::fprintf(stderr, "floe-guest: worker %lu of %lu: %s\n", i + 1, count, std::strerror(errno));
      return 1;  // the others die with this
    }
    if (child == 0) become(*kind, argv[0], period_us, mask);
    workers.push_back(child);
  }
  return wait_for_the_end(workers, mask);
}

}  // namespace floe::vmm::guest
