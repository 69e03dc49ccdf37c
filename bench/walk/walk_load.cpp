// walk_load TASKS ENTRIES: runs in the guest whose memory bench_walk walks. Holds a hash map of ENTRIES elements and TASKS tasks that
// sleep, four threads a process, until it is killed.
#include <bpf/libbpf.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/walk/big_map.hpp"

namespace {

constexpr int kThreads = 4;

void* sleep_on(void*) {
  for (;;) ::pause();
}

[[noreturn]] void be_a_process() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "walked");
  for (int n = 1; n < kThreads; ++n) {
    pthread_t thread;
    if (::pthread_create(&thread, nullptr, sleep_on, nullptr) != 0) std::_Exit(1);
  }
  sleep_on(nullptr);
  std::_Exit(0);
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: walk_load TASKS ENTRIES\n");
    return 2;
  }
  const int tasks = std::atoi(words[1]);
  const int entries = std::atoi(words[2]);
  if (const int map = floe::bench::make_big_map(static_cast<std::uint32_t>(entries)); map < 0) {
    std::fprintf(stderr, "walk_load: the map: %s\n", std::strerror(-map));
    return 1;
  }
  for (int n = 0; n < tasks / kThreads; ++n) {
    const pid_t child = ::fork();
    if (child == 0) be_a_process();
    if (child < 0) {
      std::perror("walk_load: fork");
      return 1;
    }
  }
  std::printf("walk_load: %d entries, %d tasks\n", entries, tasks / kThreads * kThreads);
  std::fflush(stdout);
  sleep_on(nullptr);
}
