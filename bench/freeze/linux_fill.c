// Fills the kernel with THREADS tasks that sleep and MAPS BPF maps of one element that nobody uses. Says so, and keeps them until it
// is killed.
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kStack = 16384 };

static void* sleep_for_ever(void* unused) {
  (void)unused;
  for (;;) pause();
}

static void write_limit(const char* path, long limit) {
  FILE* file = fopen(path, "w");
  if (file) {
    fprintf(file, "%ld", limit);
    fclose(file);
  }
}

static int make_threads(long count) {
  const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_NPROC, &all);
  write_limit("/proc/sys/kernel/threads-max", 4 * count + 1024);
  write_limit("/proc/sys/kernel/pid_max", 4 * count + 32768);
  write_limit("/proc/sys/vm/max_map_count", 4 * count + 65530);
  pthread_attr_t how;
  pthread_attr_init(&how);
  pthread_attr_setstacksize(&how, kStack);
  pthread_attr_setguardsize(&how, 0);
  for (long n = 0; n < count; ++n) {
    pthread_t thread;
    const int error = pthread_create(&thread, &how, sleep_for_ever, NULL);
    if (error) return fprintf(stderr, "linux_fill: thread %ld: %s\n", n, strerror(error)), 1;
  }
  return 0;
}

static int make_maps(long count) {
  const struct rlimit files = {(rlim_t)count + 64, (rlim_t)count + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  for (long n = 0; n < count; ++n) {
    union bpf_attr map;
    memset(&map, 0, sizeof map);
    map.map_type = BPF_MAP_TYPE_ARRAY;
    map.key_size = 4;
    map.value_size = 8;
    map.max_entries = 1;
    snprintf(map.map_name, sizeof map.map_name, "fill_%ld", n);
    if (syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map) < 0)
      return fprintf(stderr, "linux_fill: map %ld: %s\n", n, strerror(errno)), 1;
  }
  return 0;
}

int main(int count, char** words) {
  const long tasks = count > 1 ? atol(words[1]) : 0, maps = count > 2 ? atol(words[2]) : 0;
  if (tasks < 0 || maps < 0) return 2;

  if (make_threads(tasks) || make_maps(maps)) return 1;
  printf("filled\n");
  fflush(stdout);
  for (;;) pause();
}
