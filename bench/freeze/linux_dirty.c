// Dirties PAGES pages a second, evenly: a hundredth every 10 ms, one word a page, round a buffer of that many. Runs until it is
// killed, and says each second how far it came, so that a guest too slow for it shows.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

int main(int count, char** words) {
  const uint64_t pages = count > 1 ? strtoull(words[1], NULL, 10) : 0;
  volatile char* memory = NULL;
  if (pages > 0) {
    memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return perror("mmap"), 1;
  }
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  uint64_t at = 0, done = 0;
  for (uint64_t step = 1;; ++step) {
    for (const uint64_t until = pages * step / 100; done < until; ++done) {
      *(volatile uint64_t*)(memory + at * 4096) = done + 1;
      if (++at == pages) at = 0;
    }
    next.tv_nsec += 10000000;
    if (next.tv_nsec >= 1000000000) {
      next.tv_nsec -= 1000000000;
      ++next.tv_sec;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    if (step % 100 != 0) continue;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double late = (double)(now.tv_sec - next.tv_sec) + (double)(now.tv_nsec - next.tv_nsec) / 1e9;
    printf("dirtied %llu in %llu s, %.3f s behind\n", (unsigned long long)done, (unsigned long long)(step / 100), late);
    fflush(stdout);
  }
}
