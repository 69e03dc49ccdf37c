// The kernel's own view of its log and of its tasks' stacks, for comparing with what the host read from memory.
//
//   SYMBOL name address            the ranges of functions that /proc/PID/stack leaves out
//   STACK n tid switches f;f;...   /proc/TID/stack, innermost first; `switches` moves whenever the thread ran
//   KMSG n record                  a record of /dev/kmsg that no report before had; its lines are joined by tabs
//   REPORT n                       report n is whole
//
// The reporter calls itself rep-n while it makes report n and until the next, so a snapshot shows between which reports it was taken.
// Some children sleep where a test wants to see them.
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void* wait_for_ever(void* lock) {
  pthread_mutex_lock(lock);
  return NULL;
}

static void sleepers(void) {
  int ends[2];
  if (pipe(ends) != 0) return;
  if (fork() == 0) {
    char byte;
    prctl(PR_SET_NAME, "in-pipe");
    _exit(read(ends[0], &byte, 1) > 0);
  }
  if (fork() == 0) {
    struct pollfd one = {ends[0], POLLIN, 0};
    prctl(PR_SET_NAME, "in-poll");
    _exit(poll(&one, 1, -1));
  }
  if (fork() == 0) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    pthread_mutex_lock(&lock);
    pthread_create(&thread, NULL, wait_for_ever, &lock);
    prctl(PR_SET_NAME, "in-nanosleep");
    sleep(1000);
    _exit(0);
  }
  if (fork() == 0) {
    prctl(PR_SET_NAME, "in-vfork");
    if (vfork() == 0) {
      sleep(1000);
      _exit(0);
    }
    _exit(0);
  }
  if (fork() == 0) {
    prctl(PR_SET_NAME, "in-wait");
    if (fork() == 0) {
      pause();
      _exit(0);
    }
    wait(NULL);
    _exit(0);
  }
}

static void symbols(void) {
  char line[512];
  FILE* f = fopen("/proc/kallsyms", "r");
  while (f && fgets(line, sizeof line, f)) {
    unsigned long address;
    char type, name[400];
    if (sscanf(line, "%lx %c %399s", &address, &type, name) != 3) continue;
    if (strstr(name, "__sched_text_") == name || strstr(name, "__lock_text_") == name) printf("SYMBOL %s %lx\n", name, address);
  }
  if (f) fclose(f);
}

static long switches(const char* task) {
  char path[700], line[256];
  long sum = 0, one;
  snprintf(path, sizeof path, "%s/status", task);
  FILE* f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f)) {
    const char* at = strstr(line, "voluntary_ctxt_switches:");
    if (at && sscanf(at, "voluntary_ctxt_switches: %ld", &one) == 1) sum += one;
  }
  if (f) fclose(f);
  return sum;
}

static void stack(int report, const char* task, const char* tid) {
  char path[700], line[512];
  const long ran = switches(task);
  snprintf(path, sizeof path, "%s/stack", task);
  FILE* f = fopen(path, "r");
  if (!f) return;
  printf("STACK %d %s %ld ", report, tid, ran);
  while (fgets(line, sizeof line, f)) {
    char* text = strstr(line, "] ");  // "[<0>] symbol+0x1/0x2"
    line[strcspn(line, "\n")] = 0;
    printf("%s;", text ? text + 2 : line);
  }
  printf("\n");
  fclose(f);
}

static void stacks(int report) {
  DIR* proc = opendir("/proc");
  for (struct dirent* e; proc && (e = readdir(proc));) {
    if (!isdigit((unsigned char)e->d_name[0])) continue;
    char path[300], task[600];
    snprintf(path, sizeof path, "/proc/%s/task", e->d_name);
    DIR* threads = opendir(path);
    for (struct dirent* t; threads && (t = readdir(threads));) {
      if (!isdigit((unsigned char)t->d_name[0])) continue;
      snprintf(task, sizeof task, "%s/%s", path, t->d_name);
      stack(report, task, t->d_name);
    }
    if (threads) closedir(threads);
  }
  if (proc) closedir(proc);
}

static void kmsg(int report, int log) {
  char record[8192];
  for (ssize_t got; (got = read(log, record, sizeof record - 1)) > 0;) {
    record[got] = 0;
    if (record[got - 1] == '\n') record[got - 1] = 0;
    for (char* c = record; *c; ++c)
      if (*c == '\n') *c = '\t';
    printf("KMSG %d %s\n", report, record);
  }
}

int main(int argc, char** argv) {
  const int reports = argc > 1 ? atoi(argv[1]) : 8;
  const long pause_ms = argc > 2 ? atol(argv[2]) : 800;
  const int log = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
  static const char kOdd[] = "<4>a back\\slash, a bell \a and two\nlines";
  if (log < 0 || write(log, kOdd, sizeof kOdd - 1) < 0) perror("/dev/kmsg");
  sleepers();
  symbols();
  for (int n = 1; n <= reports; ++n) {
    char name[16];
    snprintf(name, sizeof name, "rep-%d", n);
    prctl(PR_SET_NAME, name);
    stacks(n);
    kmsg(n, log);
    printf("REPORT %d\n", n);
    fflush(stdout);
    const struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
  }
  return 0;
}
