// What the payload's two files share.
#pragma once

#include "abi.h"

static inline const volatile struct tiny_parameters* parameters_of(uint64_t area) {
  return (const volatile struct tiny_parameters*)(area + TINY_PARAMETERS);
}
static inline volatile struct tiny_status* status_of(uint64_t area) {
  return (volatile struct tiny_status*)(area + TINY_STATUS);
}

static inline void out32(uint16_t port, uint32_t value) {
  __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
static inline uint64_t timestamp(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}
static inline void barrier(void) {
  __asm__ volatile("" ::: "memory");
}

// Frames or garbage and frames into console port 1, as the parameters say (console.c).
void send(uint64_t area, uint32_t mode);
