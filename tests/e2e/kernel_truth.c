// floe_kernel_truth SLEEPER: reads and writes this kernel's memory by floe-guest, every kind of target in both modes, and holds each
// against what the kernel itself says in /proc. SLEEPER is a task's name; a child of that name and of SCHED_EXT's policy is made here.
// The first thing that is not so ends it with 1 and a line.
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCHED_EXT_POLICY 7
#define PANIC "/proc/sys/kernel/panic"

static const char* const modes[] = {"", "cold "};

static void die(const char* format, ...) {
  va_list rest;
  va_start(rest, format);
  fprintf(stderr, "floe_kernel_truth: ");
  vfprintf(stderr, format, rest);
  fprintf(stderr, "\n");
  exit(1);
}

// What floe-guest prints, without its newline; 0 when it ended well.
static int ask(char* out, size_t size, const char* format, ...) {
  char words[512] = "floe-guest ";
  va_list rest;
  va_start(rest, format);
  vsnprintf(words + strlen(words), sizeof words - strlen(words), format, rest);
  strcat(words, " 2>&1");
  FILE* pipe = popen(words, "r");
  if (pipe == NULL) die("popen: %m");
  size_t length = fread(out, 1, size - 1, pipe);
  while (length > 0 && out[length - 1] == '\n') --length;
  out[length] = '\0';
  return pclose(pipe);
}

static uint64_t number(const char* text) {
  return strtoull(text, NULL, 0);
}

static uint64_t kallsyms(const char* symbol) {
  FILE* file = fopen("/proc/kallsyms", "r");
  char line[512], name[256], type;
  uint64_t address = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (sscanf(line, "%" SCNx64 " %c %255s", &address, &type, name) == 3 && strcmp(name, symbol) == 0) {
      fclose(file);
      return address;
    }
  die("/proc/kallsyms has no %s", symbol);
  return 0;
}

// The value behind `key` of the nth block of /proc/cpuinfo.
static long cpuinfo(int cpu, const char* key) {
  FILE* file = fopen("/proc/cpuinfo", "r");
  char line[4096];
  long value = -1;
  for (int at = -1; fgets(line, sizeof line, file) != NULL;) {
    if (strncmp(line, "processor", 9) == 0) ++at;
    if (at == cpu && strncmp(line, key, strlen(key)) == 0) value = strtol(strchr(line, ':') + 1, NULL, 10);
  }
  fclose(file);
  return value;
}

static long proc_number(const char* path) {
  FILE* file = fopen(path, "r");
  long value = -1;
  if (file == NULL || fscanf(file, "%ld", &value) != 1) die("%s cannot be read", path);
  fclose(file);
  return value;
}

// Field `wanted` of /proc/PID/stat, whose name is one word.
static uint64_t stat_field(int pid, int wanted) {
  char path[64], word[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE* file = fopen(path, "r");
  for (int i = 1; i <= wanted; ++i)
    if (file == NULL || fscanf(file, "%63s", word) != 1) die("%s has no field %d", path, wanted);
  fclose(file);
  return (uint64_t)strtoll(word, NULL, 10);
}

static void expect(const char* what, uint64_t is, uint64_t wanted) {
  if (is != wanted) die("%s: %" PRIu64 " is not %" PRIu64, what, is, wanted);
}

// `words`: a target and a value. The kernel shows `wanted` then.
static void write_panic(const char* mode, const char* target, const char* value, uint64_t wanted) {
  char out[512];
  if (ask(out, sizeof out, "%swrite %s %s", mode, target, value) != 0) die("%swrite %s: %s", mode, target, out);
  char what[256];
  snprintf(what, sizeof what, "%swrite %s %s and " PANIC, mode, target, value);
  expect(what, (uint64_t)proc_number(PANIC), wanted);
  if (ask(out, sizeof out, "%sread %s 4", mode, target) != 0) die("%sread %s: %s", mode, target, out);
  expect(target, number(out), wanted);
}

static void variables(void) {
  char out[512], address[64], direct[64];
  const uint64_t kva = kallsyms("panic_timeout");
  snprintf(address, sizeof address, "0x%" PRIx64, kva);
  if (ask(out, sizeof out, "read page_offset_base") != 0) die("page_offset_base: %s", out);
  const uint64_t base = number(out);
  if (ask(out, sizeof out, "read phys_base") != 0) die("phys_base: %s", out);
  snprintf(direct, sizeof direct, "direct:0x%" PRIx64, base + (kva - 0xffffffff80000000u + number(out)));
  for (int i = 0; i < 2; ++i) {
    write_panic(modes[i], "panic_timeout", "11:4", 11);
    write_panic(modes[i], address, "12:4", 12);
    write_panic(modes[i], direct, "2:4", 2);
    write_panic(modes[i], "panic_timeout", "or:16", 18);
    write_panic(modes[i], "panic_timeout", "hex:07000000", 7);
  }
  if (ask(out, sizeof out, "write 0x1000 1:4") == 0) die("a user address was written");
  printf("variables\n");
}

static void per_cpu(int cpus) {
  char out[512];
  for (int i = 0; i < 2; ++i)
    for (int cpu = 0; cpu < cpus; ++cpu) {
      if (ask(out, sizeof out, "%sread percpu:%d:runqueues:cpu 4", modes[i], cpu) != 0) die("rq.cpu: %s", out);
      expect("rq.cpu", number(out), (uint64_t)cpu);
      const long before = cpuinfo(1 - cpu, "cache size");
      if (ask(out, sizeof out, "%swrite percpu:%d:cpu_info:x86_cache_size %d:4", modes[i], cpu, 4321 + i) != 0) die("cpu_info: %s", out);
      expect("cpu_info.x86_cache_size", (uint64_t)cpuinfo(cpu, "cache size"), (uint64_t)(4321 + i));
      expect("the other CPU's", (uint64_t)cpuinfo(1 - cpu, "cache size"), (uint64_t)before);
    }
  if (ask(out, sizeof out, "read percpu:77:runqueues:cpu 4") == 0) die("CPU 77 was read");
  printf("per-cpu\n");
}

static int sleeper(const char* name, int policy) {
  const int pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, name);
  const struct sched_param none = {0};
  if (policy != 0 && sched_setscheduler(0, policy, &none) != 0) _exit(1);
  for (;;) pause();
}

static void tasks(const char* name) {
  char out[512], wanted[64] = "", comm[64], path[64];
  const int ext = sleeper(name, SCHED_EXT_POLICY), other = sleeper("plain", 0);
  usleep(500000);
  const uint64_t start = stat_field(ext, 22) * 10000000;
  for (size_t i = 0; i < 16; ++i) sprintf(wanted + 2 * i, "%02x", i < strlen(name) ? (unsigned char)name[i] : 0);
  for (int i = 0; i < 2; ++i) {
    if (ask(out, sizeof out, "%sread task:%d:%" PRIu64 ":comm 16", modes[i], ext, start) != 0) die("comm: %s", out);
    if (strncmp(out, wanted, 2 * strlen(name)) != 0) die("comm is %s, not %s", out, wanted);
    if (ask(out, sizeof out, "%sread task:%d:%" PRIu64 ":pid 4", modes[i], ext, start) != 0) die("pid: %s", out);
    expect("pid", number(out), (uint64_t)ext);
    // nice 5, then 6, which stat has as its field 19.
    if (ask(out, sizeof out, "%swrite task:%d:%" PRIu64 ":static_prio %d:4", modes[i], ext, start, 125 + i) != 0)
      die("static_prio: %s", out);
    expect("nice", stat_field(ext, 19), (uint64_t)(5 + i));
    if (ask(out, sizeof out, "%sread task:%d:%" PRIu64 ":static_prio 4", modes[i], ext, start) != 0) die("static_prio: %s", out);
    expect("static_prio", number(out), (uint64_t)(125 + i));
  }
  if (ask(out, sizeof out, "write task:%d:%" PRIu64 ":comm hex:72656e616d656400", ext, start) != 0) die("writing comm: %s", out);
  snprintf(path, sizeof path, "/proc/%d/comm", ext);
  FILE* file = fopen(path, "r");
  if (file == NULL || fscanf(file, "%63s", comm) != 1 || strcmp(comm, "renamed") != 0) die("%s is %s", path, comm);
  fclose(file);
  if (ask(out, sizeof out, "write task:%d:%" PRIu64 ":static_prio 125:4", ext, start + 10000000) == 0)
    die("another task's start time was taken");
  printf("%s\n", out);
  if (ask(out, sizeof out, "write task:%d:%" PRIu64 ":static_prio 125:4", other, stat_field(other, 22) * 10000000) == 0)
    die("a task of another policy was written");
  printf("%s\n", out);
  expect("nice of the other", stat_field(other, 19), 0);
  kill(ext, SIGKILL);
  kill(other, SIGKILL);
  while (wait(NULL) > 0) {
  }
  printf("tasks\n");
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  variables();
  per_cpu(2);
  tasks(argv[1]);
  printf("all true\n");
  return 0;
}
