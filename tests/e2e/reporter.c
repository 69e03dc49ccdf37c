// What the guest itself sees, for comparing with what the host read from its memory: one line per report on stdout.
//
//   REPORT n processes=P pid:comm pid:comm ...
//
// The reporter calls itself rep-n while it makes report n and until the next, so a snapshot shows between which reports it was
// taken. `processes` is the number of forks since boot (/proc/stat): where it moved between two reports, tasks may have come and gone.
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long forks(void) {
  char line[256];
  long n = -1;
  FILE* f = fopen("/proc/stat", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "processes %ld", &n) == 1) break;
  if (f) fclose(f);
  return n;
}

// The comm between the first '(' and the last ')' of /proc/PID/stat; blanks become '_' so that fields stay apart.
static int comm_of(const char* pid, char* comm, size_t size) {
  char path[300], line[1024];
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  FILE* f = fopen(path, "r");
  if (!f) return 0;
  const size_t n = fread(line, 1, sizeof line - 1, f);
  fclose(f);
  line[n] = 0;
  char* from = strchr(line, '(');
  char* to = strrchr(line, ')');
  if (!from || !to || to < from) return 0;
  *to = 0;
  snprintf(comm, size, "%s", from + 1);
  for (char* c = comm; *c; ++c)
    if (isspace((unsigned char)*c)) *c = '_';
  return 1;
}

int main(int argc, char** argv) {
  const int reports = argc > 1 ? atoi(argv[1]) : 20;
  const long pause_ms = argc > 2 ? atol(argv[2]) : 300;
  for (int n = 1; n <= reports; ++n) {
    char name[16], comm[256];
    snprintf(name, sizeof name, "rep-%d", n);
    prctl(PR_SET_NAME, name);
    printf("REPORT %d processes=%ld", n, forks());
    DIR* proc = opendir("/proc");
    for (struct dirent* e; proc && (e = readdir(proc));)
      if (isdigit((unsigned char)e->d_name[0]) && comm_of(e->d_name, comm, sizeof comm)) printf(" %s:%s", e->d_name, comm);
    if (proc) closedir(proc);
    printf("\n");
    fflush(stdout);
    const struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
  }
  return 0;
}
