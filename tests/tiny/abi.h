// The contract between the tiny guest's payload (payload.c, inside) and its harness (guest.hpp, outside): where everything lies in
// guest memory, and what the two tell each other through it. C and C++; the layout is the ABI.
#pragma once

#include <stdint.h>

enum {
  // Written by the harness before the start.
  TINY_PAGE_TABLES = 0x10000,  // PML4, PDPT, 4 page directories: the first 4 GiB onto themselves, for both rings
  TINY_GDT = 0x18000,
  TINY_IDT = 0x19000,
  TINY_PAYLOAD = 0x100000,  // the image, beginning with struct tiny_header

  // Queue memory and frame buffers of the virtio-console driver (vCPU 0's).
  TINY_QUEUES = 0x180000,
  TINY_QUEUE_BYTES = 0x4000,  // a queue: descriptors, available ring at 0x1000, used ring at 0x2000
  TINY_BUFFERS = 0x600000,    // a page for each descriptor of a queue
  TINY_QUEUE_SIZE = 64,

  // One area for each vCPU.
  TINY_AREAS = 0x200000,
  TINY_AREA_BYTES = 0x40000,
  TINY_MAX_CPUS = 8,
  TINY_PARAMETERS = 0x0000,   // struct tiny_parameters: the harness writes
  TINY_COUNTER = 0x1000,      // u64, alone on its page
  TINY_MIRROR = 0x2000,       // u64: the counter, or one less
  TINY_STATUS = 0x3000,       // struct tiny_status: the guest writes
  TINY_RING0_STACK = 0x8000,  // tops; 16 KiB each
  TINY_RING3_STACK = 0xc000,
  TINY_TSS = 0xc000,

  TINY_FREE = 0x1000000,  // from here on RAM is for tests: pages to dirty

  TINY_CODE0 = 0x08,
  TINY_DATA0 = 0x10,
  TINY_DATA3 = 0x18 | 3,
  TINY_CODE3 = 0x20 | 3,
  TINY_FIRST_TSS = 0x28,  // 16 bytes each

  TINY_WAKE_VECTOR = 0x40,  // an interrupt that the harness sends

  TINY_PORT_EXIT = 0xf00,      // out: counted
  TINY_PORT_SEQUENCE = 0xf04,  // in: 1, 2, 3, ...
  TINY_PORT_FAULT = 0xf08,     // out: the vector of a fault that the guest did not ask for
  TINY_PORT_LATCH = 0xf0c,     // out: returns when the harness lets it
  TINY_PORTS = 0x10,
};

// What a vCPU does, until the harness writes something else.
enum tiny_mode {
  TINY_SPIN = 0,     // nothing, in ring 3; `progress` moves every 65,536 turns
  TINY_COUNT = 1,    // counter, then mirror; and every `pace` turns one of the pages to dirty
  TINY_HALT = 2,     // hlt in ring 0, until an interrupt; `wakes` counts those
  TINY_OUT = 3,      // a port write each turn
  TINY_IN = 4,       // a port read each turn, its answer stored in `last_in`
  TINY_LATCH = 5,    // one write to the latch port, then spin
  TINY_FRAMES = 6,   // frames into console port 1, counted in `sent`; `frame_limit` of them
  TINY_GARBAGE = 7,  // `garbage_bytes` pseudo-random bytes into console port 1, then frames
  TINY_DIE = 8,      // a triple fault
  TINY_WATCH = 9,    // reads the time-stamp counter, and keeps the longest time between two turns; `progress` moves with each
};

#define TINY_MAGIC UINT64_C(0x54494e59464c4f45)

struct tiny_header {
  uint64_t magic;
  uint64_t entry;           // in ring 3, with the area in rdi
  uint64_t fault_stubs;     // vectors 0 to 31, 16 bytes each
  uint64_t wake_gate;       // of TINY_WAKE_VECTOR
  uint64_t call_gate;       // of vector 6
  uint64_t in_instruction;  // of TINY_IN: `in`, one byte long; the one behind it stores eax into last_in
  uint64_t end;             // of the payload's memory
};

struct tiny_parameters {
  uint32_t mode;
  uint32_t reserved;
  uint64_t dirty_start;  // gpa
  uint64_t dirty_pages;
  uint64_t pace;           // turns between two pages; 0: none. In TINY_FRAMES: turns between two frames
  uint64_t frame_limit;    // 0: no end
  uint64_t frame_payload;  // bytes, 16 to 2048
  uint64_t frame_batch;    // frames for each notification
  uint64_t garbage_bytes;
  uint64_t watch;  // in TINY_WATCH, another number than before: begins anew
};

struct tiny_status {
  uint64_t progress;
  uint64_t wakes;
  uint64_t halted;   // 1 while in the halt loop
  uint64_t dirtied;  // pages
  uint64_t last_in;
  uint64_t sent;          // frames, stored before a frame is made available
  uint64_t garbage_sent;  // bytes, likewise
  uint64_t done;          // 1: what was asked for last has been sent and taken by the device
  uint64_t driver_error;  // 0, or the step of the driver's set-up that failed
  uint64_t fault_vector;  // 1 + the vector, 0: none
  uint64_t fault_code;
  uint64_t fault_rip;
  uint64_t watched;      // the last value of `watch` that was seen
  uint64_t longest_gap;  // ticks, since then
};
