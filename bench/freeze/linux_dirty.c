// linux_dirty SECONDS PAGES...: dirties each number of PAGES a second for SECONDS, one after the other, evenly: a hundredth every 10 ms,
// one word a page, round a buffer of that many. Says of each when it began and ended and how many it dirtied: a guest too slow for it
// shows.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static uint64_t realtime_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// How many pages it dirtied until then.
static uint64_t dirty(volatile char* memory, uint64_t pages, uint64_t until_ns) {
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  uint64_t at = 0, done = 0;
  for (uint64_t step = 1; realtime_ns() < until_ns; ++step) {
    for (const uint64_t due = pages * step / 100; done < due; ++done) {
      *(volatile uint64_t*)(memory + at * 4096) = done + 1;
      if (++at == pages) at = 0;
    }
    next.tv_nsec += 10000000;
    if (next.tv_nsec >= 1000000000) {
      next.tv_nsec -= 1000000000;
      ++next.tv_sec;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
  return done;
}

int main(int count, char** words) {
  if (count < 3) return fprintf(stderr, "usage: linux_dirty SECONDS PAGES...\n"), 2;
  const uint64_t seconds = strtoull(words[1], NULL, 10);
  for (int word = 2; word < count; ++word) {
    const uint64_t pages = strtoull(words[word], NULL, 10);
    const size_t bytes = (pages + 1) * 4096;
    volatile char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return perror("mmap"), 1;
    const uint64_t began = realtime_ns();
    const uint64_t done = dirty(memory, pages, began + seconds * 1000000000);
    printf("pages %llu began %llu ended %llu dirtied %llu\n", (unsigned long long)pages, (unsigned long long)began,
           (unsigned long long)realtime_ns(), (unsigned long long)done);
    fflush(stdout);
    munmap((void*)memory, bytes);
  }
}
