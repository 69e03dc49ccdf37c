// Memory in a BPF arena, with the structures by which schedulers of the sched_ext world keep it, and by whose names tools find it:
// struct scx_allocator (numbered slots of one size under a three-level radix tree) and struct scx_static (a bump allocator).
//
//   scx_allocator.root -> sdt_desc -> sdt_chunk.descs[512] -> sdt_desc -> ... -> sdt_chunk.data[512] -> sdt_data
//
// A leaf's `allocated` has a bit per slot in use; that of an inner descriptor has a bit per child that is full. A slot begins with
// its number and a generation that grows each time the slot is used again. The tree is built whole by scx_alloc_init(), which sleeps;
// taking and giving back a slot afterwards is lock-free, by one atomic operation on its bit.
#pragma once

#include "scx.bpf.h"

#define __arena __attribute__((address_space(1)))
#define ARENA_PAGE 4096
#define NUMA_NO_NODE (-1)

#define SDT_LEVELS 3
#define SDT_FAN_OUT 512
#define WORDS (SDT_FAN_OUT / 64)

void __arena* bpf_arena_alloc_pages(void* map, void __arena* address, u32 pages, int node, u64 flags) __ksym __weak;

struct sdt_data {
  s32 idx;
  s32 genn;
  u64 payload[];
};

struct sdt_desc;

struct sdt_chunk {
  union {
    struct sdt_desc __arena* descs[SDT_FAN_OUT];
    struct sdt_data __arena* data[SDT_FAN_OUT];
  };
};

struct sdt_desc {
  u64 allocated[WORDS];
  u64 nr_free;
  struct sdt_chunk __arena* chunk;
};

struct sdt_pool {
  void __arena* slab;
  u64 elem_size;
  u64 max_elems;
  u64 idx;
};

struct scx_allocator {
  struct sdt_pool pool;
  struct sdt_desc __arena* root;
};

struct scx_static {
  u64 max_alloc_bytes;
  void __arena* memory;
  u64 off;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARENA);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1024);         // pages
  __ulong(map_extra, 0x1ull << 44);  // user_vm_start: 4 GiB aligned
} arena SEC(".maps");

static __always_inline void __arena* arena_pages(u32 pages) {
  return bpf_arena_alloc_pages(&arena, NULL, pages, NUMA_NO_NODE, 0);
}

// A program that touches arena memory must name the arena (the verifier takes its map from there).
static __always_inline void in_arena(void) {
  asm volatile("" ::"r"(&arena));
}

// Descriptors are carved from one page after the other.
struct sdt_pool scx_descs_pool = {.elem_size = sizeof(struct sdt_desc)};

static __always_inline struct sdt_desc __arena* new_desc(void) {
  struct sdt_pool* pool = &scx_descs_pool;
  if (!pool->slab || pool->idx == pool->max_elems) {
    pool->slab = arena_pages(1);
    pool->max_elems = ARENA_PAGE / sizeof(struct sdt_desc);
    pool->idx = 0;
  }
  if (!pool->slab) return NULL;
  struct sdt_desc __arena* desc = (struct sdt_desc __arena*)pool->slab + pool->idx++;
  desc->chunk = arena_pages(1);
  desc->nr_free = SDT_FAN_OUT;
  return desc->chunk ? desc : NULL;
}

// The child at `position`, made where there is none.
static __always_inline struct sdt_desc __arena* child_of(struct sdt_desc __arena* desc, u32 position) {
  struct sdt_chunk __arena* chunk = desc->chunk;
  position &= SDT_FAN_OUT - 1;
  struct sdt_desc __arena* child = chunk->descs[position];
  if (child) return child;
  child = new_desc();
  if (!child) return NULL;
  chunk->descs[position] = child;
  return child;
}

// The leaves of one allocator that can hold slots, so that taking one needs no search from the root.
#define MAX_LEAVES 4
struct slot_leaves {
  u32 count;
  u32 unused;
  struct sdt_desc __arena* leaf[MAX_LEAVES];
};

// Makes the leaf for the slot numbers from `first` on, a multiple of 512, with memory for `slots` slots. 0, or -1 without memory.
__weak int scx_alloc_leaf(struct scx_allocator* allocator, struct slot_leaves* leaves, u32 first, u32 slots) {
  if (!allocator || !leaves || leaves->count >= MAX_LEAVES || !allocator->pool.elem_size) return -1;
  if (!allocator->root) allocator->root = new_desc();
  struct sdt_desc __arena* desc = allocator->root;
  if (!desc) return -1;
  desc = child_of(desc, first >> 18);
  if (!desc) return -1;
  desc = child_of(desc, first >> 9);
  if (!desc) return -1;
  struct sdt_chunk __arena* chunk = desc->chunk;
  struct sdt_pool* pool = &allocator->pool;
  int i;
  bpf_for(i, 0, SDT_FAN_OUT) {
    if ((u32)i >= slots) {  // no memory behind it: taken for ever
      desc->allocated[i / 64] |= 1ull << (i % 64);
      continue;
    }
    if (!pool->slab || pool->idx >= pool->max_elems) {
      pool->slab = arena_pages(1);
      pool->max_elems = ARENA_PAGE / pool->elem_size;
      pool->idx = 0;
    }
    if (!pool->slab) return -1;
    struct sdt_data __arena* slot = (struct sdt_data __arena*)((u64)pool->slab + pool->idx++ * pool->elem_size);
    slot->idx = (s32)(first + i);
    chunk->data[i] = slot;
  }
  desc->nr_free = slots;
  leaves->leaf[leaves->count & (MAX_LEAVES - 1)] = desc;
  leaves->count++;
  return 0;
}

// A zeroed slot, as the arena address of its struct sdt_data, or 0 when all are in use.
__weak u64 scx_alloc_internal(struct scx_allocator* allocator, struct slot_leaves* leaves) {
  in_arena();
  if (!allocator || !leaves) return 0;
  int step;
  bpf_for(step, 0, MAX_LEAVES * WORDS * 2) {  // each word twice: another CPU may take the bit first
    struct sdt_desc __arena* desc = leaves->leaf[(step / 2 / WORDS) & (MAX_LEAVES - 1)];
    if (!desc) break;
    const u32 word = (step / 2) & (WORDS - 1);
    const u64 taken = desc->allocated[word];
    if (taken == ~0ull) continue;
    const u32 position = __builtin_ctzll(~taken) & 63;
    const u64 bit = 1ull << position;
    // The x86 JIT has no fetching OR on arena memory (bpf_jit_supports_insn), but it has this.
    if (__sync_val_compare_and_swap(&desc->allocated[word], taken, taken | bit) != taken) continue;
    __sync_fetch_and_add(&desc->nr_free, -1);
    struct sdt_chunk __arena* chunk = desc->chunk;
    return (u64)chunk->data[(word * 64 + position) & (SDT_FAN_OUT - 1)];
  }
  return 0;
}

// Gives a slot back: its payload is zeroed, its generation grows, its bit goes.
__weak int scx_alloc_free_internal(struct scx_allocator* allocator, struct slot_leaves* leaves, u64 address) {
  in_arena();
  if (!allocator || !leaves || !address) return -1;
  struct sdt_data __arena* slot = (struct sdt_data __arena*)address;
  const u32 number = (u32)slot->idx;
  const int words = (int)((allocator->pool.elem_size - sizeof(struct sdt_data)) / 8);
  int i;
  bpf_for(i, 0, words) slot->payload[i] = 0;
  slot->genn++;
  bpf_for(i, 0, MAX_LEAVES) {
    struct sdt_desc __arena* desc = leaves->leaf[i & (MAX_LEAVES - 1)];
    if (!desc) break;
    struct sdt_chunk __arena* chunk = desc->chunk;
    const u32 position = number & (SDT_FAN_OUT - 1);
    if ((u64)chunk->data[position] != address) continue;
    __sync_fetch_and_and(&desc->allocated[position / 64], ~(1ull << (position % 64)));
    __sync_fetch_and_add(&desc->nr_free, 1);
    return 0;
  }
  return -1;
}

// The next `bytes` of a bump allocator, as an arena address, or 0 when it is used up. Not for two CPUs at once.
__weak u64 scx_static_alloc_internal(struct scx_static* area, u64 bytes, u64 alignment) {
  if (!area || !alignment) return 0;
  const u64 start = (area->off + alignment - 1) & ~(alignment - 1);
  if (start + bytes > area->max_alloc_bytes) return 0;
  area->off = start + bytes;
  return (u64)area->memory + start;
}
