// What the guest says of every thread, of its CPUs, nodes and struct_ops programs, for comparing with what the host read from its memory.
//
//   task_reporter REPORTS PAUSE_MS
//
//   REPORT n
//   CLOCK ns                           CLOCK_MONOTONIC, just before /proc/stat is opened and once more behind its lines
//   CPU line of /proc/stat
//   FORKS processes of /proc/stat
//   SOFTIRQS line of /proc/softirqs
//   NUMA node counter value
//   PROG id run_cnt run_time_ns recursion_misses name
//   TASK /proc/PID/task/TID/stat
//   STATUS tid key=value|...
//   SCHED tid key=value|...
//   END n
//
// The reporter calls itself rep-n while it makes report n, and ok-n from its end until the next begins, so a snapshot shows between which
// reports it was taken. Beside it stands a cast of threads of every policy and state.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static long long now_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

// --- the cast ---

static void sleep_on(void) {
  for (;;) nap(700);
}

static void policy(int which, int priority) {
  const struct sched_param param = {.sched_priority = priority};
  if (sched_setscheduler(0, which, &param)) perror("sched_setscheduler");
}

static void play_fifo(void) {
  policy(SCHED_FIFO, 17);
}
static void play_rr(void) {
  policy(SCHED_RR, 3);
}
static void play_idle(void) {
  policy(SCHED_IDLE, 0);
}
static void play_eager(void) {
  setpriority(PRIO_PROCESS, 0, -11);
}
static void play_humble(void) {
  setpriority(PRIO_PROCESS, 0, 13);
}
static void play_stopped(void) {
  raise(SIGSTOP);
}
static void play_zombie(void) {
  _exit(0);
}
static void play_session(void) {
  setsid();
}
static void play_group(void) {
  setpgid(0, 0);
}

static void play_batch(void) {
  policy(SCHED_BATCH, 0);
  setpriority(PRIO_PROCESS, 0, 4);
}

// struct sched_attr of include/uapi/linux/sched/types.h, which glibc's headers clash with.
static void play_deadline(void) {
  struct {
    unsigned size, policy;
    unsigned long long flags;
    int nice;
    unsigned priority;
    unsigned long long runtime, deadline, period;
  } attr = {48, 6, 0, 0, 0, 2000000, 50000000, 50000000};
  if (syscall(SYS_sched_setattr, 0, &attr, 0)) perror("sched_setattr");
}

static void play_traced(void) {
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP);
}

static void play_vfork(void) {
  if (vfork() != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) pause();
}

static void* thread(void* name) {
  prctl(PR_SET_NAME, name);
  if (!strcmp(name, "thread-2")) setpriority(PRIO_PROCESS, 0, 5);
  if (!strcmp(name, "thread-3")) policy(SCHED_FIFO, 2);
  sleep_on();
  return NULL;
}

static void play_threads(void) {
  static char names[3][16] = {"thread-1", "thread-2", "thread-3"};
  pthread_t id;
  for (int i = 0; i < 3; ++i) pthread_create(&id, NULL, thread, names[i]);
}

// Two pid namespaces, one in the other.
static void play_namespace(void) {
  for (int depth = 0; depth < 2; ++depth) {
    if (unshare(CLONE_NEWPID)) perror("unshare");
    if (fork() != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, depth == 0 ? "in-ns" : "in-ns-in-ns");
  }
}

static void play_user(void) {
  for (;; nap(90)) {
    const long long end = now_ns(CLOCK_MONOTONIC) + 6000000;
    do {
      for (volatile int i = 0; i < 20000; ++i) {
      }
    } while (now_ns(CLOCK_MONOTONIC) < end);
  }
}

static void play_kernel(void) {
  static char zeros[1 << 16];
  const int zero = open("/dev/zero", O_RDONLY);
  for (;; nap(90)) {
    const long long end = now_ns(CLOCK_MONOTONIC) + 6000000;
    while (now_ns(CLOCK_MONOTONIC) < end)
      if (read(zero, zeros, sizeof zeros) < 0) perror("/dev/zero");
  }
}

// A conversation over loopback under the congestion control of floe_maps_all, where that is held: its struct_ops programs run.
static void play_network(void) {
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  const int listens = socket(AF_INET, SOCK_STREAM, 0), calls = socket(AF_INET, SOCK_STREAM, 0);
  if (setsockopt(calls, IPPROTO_TCP, TCP_CONGESTION, "floe_calm", 9)) return;
  ioctl(calls, SIOCSIFFLAGS, &loopback);
  bind(listens, (struct sockaddr*)&address, sizeof address);
  listen(listens, 1);
  getsockname(listens, (struct sockaddr*)&address, &size);
  if (connect(calls, (struct sockaddr*)&address, sizeof address)) perror("connect");
  const int answers = accept(listens, NULL, NULL);
  static char words[4096];
  for (;; nap(150))
    if (send(calls, words, sizeof words, 0) < 0 || recv(answers, words, sizeof words, 0) < 0) perror("loopback");
}

static void enter(const char* name, void (*play)(void)) {
  if (fork() != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, name);
  play();
  sleep_on();
}

static void enter_all(void) {
  enter("fifo", play_fifo);
  enter("rr", play_rr);
  enter("batch", play_batch);
  enter("idle-policy", play_idle);
  enter("deadline", play_deadline);
  enter("eager", play_eager);
  enter("humble", play_humble);
  enter("stopped", play_stopped);
  enter("zombie", play_zombie);
  enter("traced", play_traced);
  enter("in-vfork", play_vfork);
  enter("session", play_session);
  enter("group", play_group);
  enter("threads", play_threads);
  enter("namespace", play_namespace);
  enter("user", play_user);
  enter("kernel", play_kernel);
  enter("network", play_network);
  enter("odd) S 7 (odd", sleep_on);
}

// --- the reports ---

static size_t read_file(const char* path, char* text, size_t size) {
  FILE* f = fopen(path, "r");
  const size_t n = f ? fread(text, 1, size - 1, f) : 0;
  if (f) fclose(f);
  text[n] = 0;
  return n;
}

static void cpus(void) {
  static char text[1 << 17];
  printf("CLOCK %lld\n", now_ns(CLOCK_MONOTONIC));
  read_file("/proc/stat", text, sizeof text);
  const long long after = now_ns(CLOCK_MONOTONIC);
  char* save = NULL;
  for (char* line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    if (!strncmp(line, "cpu", 3) && isdigit((unsigned char)line[3])) printf("CPU %s\n", line);
    if (!strncmp(line, "processes ", 10)) printf("FORKS %s\n", line + 10);
  }
  printf("CLOCK %lld\n", after);
  read_file("/proc/softirqs", text, sizeof text);
  for (char* line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    if (strchr(line, ':')) printf("SOFTIRQS %s\n", line);
}

static void nodes(void) {
  char path[64], text[1024], *save = NULL;
  for (int node = 0; node < 8; ++node) {
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/numastat", node);
    if (!read_file(path, text, sizeof text)) continue;
    for (char* line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) printf("NUMA %d %s\n", node, line);
  }
}

static void programs(void) {
  union bpf_attr next = {0};
  while (!syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &next, sizeof next)) {
    union bpf_attr get = {.prog_id = next.next_id};
    const int fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &get, sizeof get);
    struct bpf_prog_info info = {0};
    union bpf_attr ask = {.info = {.bpf_fd = (unsigned)fd, .info_len = sizeof info, .info = (unsigned long)&info}};
    if (!syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof ask) && info.type == BPF_PROG_TYPE_STRUCT_OPS)
      printf("PROG %u %llu %llu %llu %s\n", info.id, info.run_cnt, info.run_time_ns, info.recursion_misses, info.name);
    close(fd);
    next.start_id = next.next_id;
  }
}

// "key: value" lines of a file whose keys are among those wanted (|key|key|), on one line.
static void keys_of(const char* word, const char* path, const char* tid, const char* wanted) {
  char text[16384], key[64], *save = NULL;
  read_file(path, text, sizeof text);
  printf("%s %s ", word, tid);
  for (char* line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    char* value = strchr(line, ':');
    if (!value) continue;
    char* end = value++;
    while (end > line && isspace((unsigned char)end[-1])) --end;
    snprintf(key, sizeof key, "|%.*s|", (int)(end - line), line);
    if (!strstr(wanted, key)) continue;
    while (isspace((unsigned char)*value)) ++value;
    printf("%.*s=%s|", (int)(end - line), line, value);
  }
  printf("\n");
}

static void one_thread(const char* pid, const char* tid) {
  char path[96], text[4096];
  snprintf(path, sizeof path, "/proc/%.16s/task/%.16s/stat", pid, tid);
  if (!read_file(path, text, sizeof text)) return;
  printf("TASK %s", text);
  snprintf(path, sizeof path, "/proc/%.16s/task/%.16s/status", pid, tid);
  keys_of("STATUS", path, tid,
          "|Name|State|Tgid|Pid|PPid|NStgid|NSpid|NSpgid|NSsid|Threads|voluntary_ctxt_switches|nonvoluntary_ctxt_switches|");
  snprintf(path, sizeof path, "/proc/%.16s/task/%.16s/sched", pid, tid);
  keys_of("SCHED", path, tid, "|se.sum_exec_runtime|nr_switches|nr_voluntary_switches|nr_involuntary_switches|policy|prio|ext.enabled|");
}

static void each_number_in(const char* path, void (*each)(const char* outer, const char* name), const char* outer) {
  DIR* folder = opendir(path);
  for (struct dirent* entry; folder && (entry = readdir(folder));)
    if (isdigit((unsigned char)entry->d_name[0])) each(outer, entry->d_name);
  if (folder) closedir(folder);
}

static void one_process(const char* unused, const char* pid) {
  (void)unused;
  char path[64];
  snprintf(path, sizeof path, "/proc/%.16s/task", pid);
  each_number_in(path, one_thread, pid);
}

int main(int argc, char** argv) {
  const int reports = argc > 1 ? atoi(argv[1]) : 5;
  const long pause_ms = argc > 2 ? atol(argv[2]) : 1500;
  static char buffer[1 << 20];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  const int enabled = open("/proc/sys/kernel/bpf_stats_enabled", O_WRONLY);
  if (enabled < 0 || write(enabled, "1", 1) != 1) perror("bpf_stats_enabled");
  enter_all();
  nap(500);
  for (int n = 1; n <= reports; ++n) {
    char name[16];
    snprintf(name, sizeof name, "rep-%d", n);
    prctl(PR_SET_NAME, name);
    printf("REPORT %d\n", n);
    cpus();
    nodes();
    programs();
    each_number_in("/proc", one_process, NULL);
    printf("END %d\n", n);
    fflush(stdout);
    snprintf(name, sizeof name, "ok-%d", n);
    prctl(PR_SET_NAME, name);
    nap(pause_ms);
  }
  return 0;
}
