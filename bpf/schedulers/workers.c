// floe_workers: load for a scheduler. Threads that call themselves by a name and spin, sleep and wake, or yield, until the time is over.
//
//   floe_workers SECONDS {NAME:KIND[:NICE][xCOUNT]}...      KIND: spin, sleep (1 ms at a time), yield, pair (two that wake each other)
//
// Each is a process of its own with a second thread of the same kind; without a time (0) they run until they are killed.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static int pipes[2][2];  // of a pair

static void* work(void* kind) {
  const int partner = kind == NULL;  // the second of a pair
  for (;;) {
    if (!kind || !strcmp(kind, "pair")) {
      char byte = 0;
      if (!partner && write(pipes[0][1], &byte, 1) != 1) return NULL;
      if (read(pipes[!partner][0], &byte, 1) != 1) return NULL;
      if (partner && write(pipes[1][1], &byte, 1) != 1) return NULL;
    } else if (!strcmp(kind, "sleep")) {
      nap(1);
    } else if (!strcmp(kind, "yield")) {
      sched_yield();
    } else {
      for (volatile int i = 0; i < 100000; ++i) {
      }
    }
  }
}

static void become(const char* name, char* kind, int nice_value) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, name);
  setpriority(PRIO_PROCESS, 0, nice_value);
  const int pair = !strcmp(kind, "pair");
  if (pair && (pipe(pipes[0]) || pipe(pipes[1]))) exit(1);
  pthread_t second;
  pthread_create(&second, NULL, work, pair ? NULL : kind);
  work(kind);
  exit(0);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: floe_workers SECONDS {NAME:KIND[:NICE][xCOUNT]}...\n");
    return 2;
  }
  int started = 0;
  for (int i = 2; i < argc; ++i) {
    char name[16] = "", kind[16] = "";
    int nice_value = 0, count = 1;
    const char* times = strrchr(argv[i], 'x');
    if (times && times[1] >= '0' && times[1] <= '9') count = atoi(times + 1);
    if (sscanf(argv[i], "%15[^:]:%15[a-z]:%d", name, kind, &nice_value) < 2) return 2;
    kind[strcspn(kind, "x")] = 0;
    for (int n = 0; n < count; ++n, ++started) {
      const pid_t child = fork();
      if (child < 0) {
        fprintf(stderr, "floe_workers: fork: %s\n", strerror(errno));
        return 1;
      }
      if (child == 0) become(name, kind, nice_value);
    }
  }
  printf("floe_workers: %d started\n", started);
  fflush(stdout);
  const long seconds = atol(argv[1]);
  if (!seconds) pause();
  nap(seconds * 1000);
  return 0;  // the children die with us
}
