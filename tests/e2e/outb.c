// floe_outb CPU PORT VALUE: says so, and writes VALUE to PORT a moment later, from that CPU.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(atoi(argv[1]), &one);
  const unsigned short port = (unsigned short)strtoul(argv[2], NULL, 0);
  const unsigned char value = (unsigned char)strtoul(argv[3], NULL, 0);
  if (sched_setaffinity(0, sizeof one, &one) != 0 || ioperm(port, 1, 1) != 0) {
    perror("floe_outb");
    return 1;
  }
  printf("writing %u to port 0x%x\n", value, port);
  fflush(stdout);
  usleep(300000);
  outb(value, port);
  printf("written %u\n", value);
  return 0;
}
