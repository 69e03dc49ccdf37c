// What the maps of floe_maps and floe_maps_all hold, for both sides: the programs in the kernel and the loaders. Every value comes from
// a seed by floe_mix(), so a test can compute again what must be there (tests/e2e/seeded.py does).
//
// The types have a member of each kind that a renderer must know, and no padding that could hold left-over bytes.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif
#endif

// splitmix64's finaliser over (seed, which map, which entry, which word of it).
static inline __u64 floe_mix(__u64 seed, __u64 map, __u64 entry, __u64 word) {
  __u64 z = seed + 0x9e3779b97f4a7c15ULL * (map * 1000003 + entry * 101 + word + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

enum floe_colour { FLOE_RED, FLOE_GREEN, FLOE_BLUE = 7, FLOE_BLACK = -1 };

typedef __u32 floe_weight_t;

struct floe_point {
  __s16 x;
  __s16 y;
};

struct floe_key {
  __u32 id;
  __u32 group;
};

struct floe_value {
  __u64 wide;
  __s64 negative;
  floe_weight_t weight;
  enum floe_colour colour;
  __s16 small;
  __u8 byte;
  bool flag;
  __u32 low : 3;
  __u32 middle : 11;
  __s32 high : 18;
  union {
    __u32 as_word;
    __u8 as_bytes[4];
  };
  char name[16];
  struct floe_point points[2];
  struct {
    __u32 inner;
  };
};

static inline void floe_fill_key(struct floe_key* key, __u64 seed, __u64 map, __u32 entry) {
  key->id = entry;
  key->group = (__u32)floe_mix(seed, map, entry, 100);
}

static inline void floe_fill_value(struct floe_value* value, __u64 seed, __u64 map, __u64 entry) {
  const __u64 a = floe_mix(seed, map, entry, 0);
  const __u64 b = floe_mix(seed, map, entry, 1);
  const __u64 c = floe_mix(seed, map, entry, 2);
  const __u64 d = floe_mix(seed, map, entry, 3);
  value->wide = a;
  value->negative = -(__s64)(b >> 1);
  value->weight = (__u32)c;
  value->colour = (c >> 32) % 3 == 0 ? FLOE_GREEN : (c >> 32) % 3 == 1 ? FLOE_BLUE : FLOE_BLACK;
  value->small = (__s16)d;
  value->byte = (__u8)(d >> 16);
  value->flag = (d >> 24) & 1;
  value->low = (d >> 25) & 7;
  value->middle = (d >> 28) & 0x7ff;
  value->high = (__s32)((d >> 39) & 0x3ffff) - 0x20000;
  value->as_word = (__u32)(a >> 32);
  for (int i = 0; i < 15; ++i) value->name[i] = (char)('a' + ((b >> (i * 4)) & 15));
  value->name[15] = 0;
  value->points[0].x = (__s16)(c >> 8);
  value->points[0].y = (__s16)(c >> 24);
  value->points[1].x = (__s16)(a >> 16);
  value->points[1].y = (__s16)(a >> 40);
  value->inner = (__u32)(b >> 24);
}

// The maps of floe_maps by the number that goes into floe_mix().
enum floe_map_number {
  FLOE_MAP_HASH = 1,
  FLOE_MAP_LRU = 2,
  FLOE_MAP_ARRAY = 3,
  FLOE_MAP_PERCPU_ARRAY = 4,
  FLOE_MAP_PERCPU_HASH = 5,
  FLOE_MAP_RINGBUF = 6,
  FLOE_MAP_TASK = 7,
  FLOE_MAP_CELLS = 8,
  FLOE_MAP_STATIC = 9,
  FLOE_MAP_SECTION = 10,
};
// The entry of one CPU in a per-CPU map: entry * FLOE_CPU_STRIDE + cpu.
#define FLOE_CPU_STRIDE 64
