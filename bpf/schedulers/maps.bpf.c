// floe_maps: schedules first in, first out, and keeps a map of every type that schedulers use, filled from a seed.
//
// The loader fills what user space can (hash, LRU, array, per-CPU); the programs here fill the sections, the arena and its allocators at
// init, the task storage as tasks come, and, run once by the loader, the ring buffer and the stack traces. From then on nothing
// changes but the task storage and the slots that its entries point to.
#include "arena_allocator.bpf.h"
#include "exit_latch.bpf.h"
#include "records.h"

#define SHARED_DSQ 0x100

char _license[] SEC("license") = "GPL";

const volatile u64 maps_seed;                     // .rodata, as the loader was told
struct floe_value maps_data_value = {.wide = 1};  // .data
struct floe_value maps_bss_value;                 // .bss
const volatile struct floe_value maps_rodata_value;
u64 maps_no_slot;  // tasks that found no slot free

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, struct floe_key);
  __type(value, struct floe_value);
} floe_hash SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct floe_key);
  __type(value, struct floe_value);
} floe_lru SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 20);
  __type(key, u32);
  __type(value, struct floe_value);
} floe_array SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 6);
  __type(key, u32);
  __type(value, struct floe_value);
} floe_pcpu_array SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 64);
  __type(key, struct floe_key);
  __type(value, struct floe_value);
} floe_pcpu_hash SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 16384);
} floe_ring SEC(".maps");

#define STACK_DEPTH 32
struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 16);
  __uint(key_size, sizeof(u32));
  __uint(value_size, STACK_DEPTH * sizeof(u64));
} floe_stacks SEC(".maps");

// One per task: the slot's address twice, as schedulers keep it when they hide it from the verifier and when they do not.
struct task_entry {
  u64 slot;
  struct sdt_data __arena* data;
  u64 owner;  // the task_struct
  u64 stamp;
};

struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct task_entry);
} floe_task_data SEC(".maps");

struct cell_ctx {
  u64 stamp;
  struct cell_ctx __arena* next;  // a ring of those in use
  u64 first;                      // address of the first one's slot
  u32 number;
  u32 weight;
};

struct task_ctx {
  u64 stamp;
  s32 pid;
  u32 weight;
  char comm[16];
  struct task_ctx __arena* self;
  u64 cell;  // address of a cell's payload
  u64 task;  // the task_struct
  struct floe_point at;
};

struct thing {
  u64 stamp;
  u64 number;
  struct thing __arena* before;
};

struct scx_allocator scx_task_allocator;
struct scx_allocator scx_cell_allocator;
struct slot_leaves maps_task_leaves;
struct slot_leaves maps_cell_leaves;
struct scx_static scx_static_area;

struct cell_ctx __arena* maps_first_cell;
u64 maps_cells;  // that were taken; each fifth or so was given back
struct thing __arena* maps_first_thing;
u64 maps_last_thing;  // arena address of the newest
u64 maps_things;

#define MAX_CELLS 64
#define TASK_SLOTS 512

static __always_inline u64 cells_wanted(void) {
  return 24 + floe_mix(maps_seed, FLOE_MAP_CELLS, 0, 9) % 40;
}
static __always_inline bool cell_given_back(u64 number) {
  return number && floe_mix(maps_seed, FLOE_MAP_CELLS, number, 8) % 5 == 0;
}

static __always_inline int fill_cells(void) {
  scx_cell_allocator.pool.elem_size = sizeof(struct sdt_data) + sizeof(struct cell_ctx);
  if (scx_alloc_leaf(&scx_cell_allocator, &maps_cell_leaves, 7 << 9, MAX_CELLS)) return -1;
  const int wanted = (int)cells_wanted();
  struct cell_ctx __arena* before = NULL;
  u64 first_slot = 0;
  int i;
  bpf_for(i, 0, wanted) {
    const u64 slot = scx_alloc_internal(&scx_cell_allocator, &maps_cell_leaves);
    if (!slot) return -1;
    struct sdt_data __arena* data = (struct sdt_data __arena*)slot;
    struct cell_ctx __arena* cell = (struct cell_ctx __arena*)data->payload;
    if (!i) {
      first_slot = slot;
      maps_first_cell = cell;
    }
    cell->stamp = floe_mix(maps_seed, FLOE_MAP_CELLS, i, 0);
    cell->number = (u32)i;
    cell->weight = (u32)floe_mix(maps_seed, FLOE_MAP_CELLS, i, 1);
    cell->first = first_slot;
    maps_cells++;
    if (cell_given_back(i)) continue;
    cell->next = before;
    before = cell;
  }
  if (maps_first_cell) maps_first_cell->next = before;
  // What is given back goes after all were taken, or the next would get the same slot.
  struct sdt_desc __arena* leaf = maps_cell_leaves.leaf[0];
  if (!leaf) return -1;
  struct sdt_chunk __arena* chunk = leaf->chunk;
  bpf_for(i, 0, wanted) {
    if (cell_given_back(i)) scx_alloc_free_internal(&scx_cell_allocator, &maps_cell_leaves, (u64)chunk->data[i & (SDT_FAN_OUT - 1)]);
  }
  return 0;
}

static __always_inline int fill_static(void) {
  scx_static_area.memory = arena_pages(2);
  scx_static_area.max_alloc_bytes = 2 * ARENA_PAGE;
  if (!scx_static_area.memory) return -1;
  const int wanted = 3 + (int)(floe_mix(maps_seed, FLOE_MAP_STATIC, 0, 9) % 10);
  int i;
  bpf_for(i, 0, wanted) {
    const u64 address = scx_static_alloc_internal(&scx_static_area, sizeof(struct thing), 64);
    if (!address) return -1;
    struct thing __arena* thing = (struct thing __arena*)address;
    thing->stamp = floe_mix(maps_seed, FLOE_MAP_STATIC, i, 0);
    thing->number = i;
    thing->before = (struct thing __arena*)maps_last_thing;
    if (!i) maps_first_thing = thing;
    maps_last_thing = address;
    maps_things++;
  }
  return 0;
}

static __always_inline int make_task_slots(void) {
  static const u32 first[] = {0, 1 << 9, 512 << 9, ((3 << 9) + 5) << 9};  // leaves far apart in the tree
  scx_task_allocator.pool.elem_size = sizeof(struct sdt_data) + sizeof(struct task_ctx);
  for (u32 i = 0; i < MAX_LEAVES; ++i) {
    // The first is small, so that some tasks live elsewhere.
    if (scx_alloc_leaf(&scx_task_allocator, &maps_task_leaves, first[i], i ? TASK_SLOTS : 20)) return -1;
  }
  return 0;
}

s32 SCHED_OP_SLEEPABLE(maps_init) {
  floe_fill_value(&maps_data_value, maps_seed, FLOE_MAP_SECTION, 0);
  floe_fill_value(&maps_bss_value, maps_seed, FLOE_MAP_SECTION, 1);
  if (fill_cells() || fill_static() || make_task_slots()) return -12;  // ENOMEM
  return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

// Not inlined, for the compiler describes in BTF only what a signature or a variable names.
static __noinline void fill_task(struct task_ctx __arena* mine, const struct task_struct* p, u64 stamp) {
  mine->stamp = stamp;
  mine->pid = p->pid;
  mine->weight = p->scx.weight;
  for (int i = 0; i < 16; ++i) mine->comm[i] = p->comm[i];
  mine->self = mine;
  mine->cell = (u64)maps_first_cell;
  mine->task = (u64)p;
  mine->at.x = (s16)stamp;
  mine->at.y = (s16)(stamp >> 16);
}

s32 SCHED_OP_SLEEPABLE(maps_init_task, struct task_struct* p, struct scx_init_task_args* args) {
  struct task_entry* entry = bpf_task_storage_get(&floe_task_data, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (!entry) return -12;
  const u64 slot = scx_alloc_internal(&scx_task_allocator, &maps_task_leaves);
  if (!slot) {
    __sync_fetch_and_add(&maps_no_slot, 1);
    return 0;
  }
  struct sdt_data __arena* data = (struct sdt_data __arena*)slot;
  const u64 stamp = floe_mix(maps_seed, FLOE_MAP_TASK, (u32)p->pid, 0);
  entry->slot = slot;
  entry->data = data;
  entry->owner = (u64)p;
  entry->stamp = stamp;
  fill_task((struct task_ctx __arena*)data->payload, p, stamp);
  return 0;
}

void SCHED_OP(maps_exit_task, struct task_struct* p, struct scx_exit_task_args* args) {
  struct task_entry* entry = bpf_task_storage_get(&floe_task_data, p, NULL, 0);
  if (!entry || !entry->slot) return;
  const u64 slot = entry->slot;
  entry->slot = 0;
  entry->data = NULL;
  scx_alloc_free_internal(&scx_task_allocator, &maps_task_leaves, slot);
}

void SCHED_OP(maps_enqueue, struct task_struct* p, u64 enq_flags) {
  insert_fifo(p, SHARED_DSQ, enq_flags);
}

void SCHED_OP(maps_dispatch, s32 cpu, struct task_struct* prev) {
  take_from(SHARED_DSQ);
}

void SCHED_OP(maps_running, struct task_struct* p) {
  note_scheduler(p);
}

void SCHED_OP(maps_exit, struct scx_exit_info* info) {
  latch_exit(info);
}

SEC(".struct_ops.link")
struct sched_ext_ops maps_ops = {
    .enqueue = (void*)maps_enqueue,
    .dispatch = (void*)maps_dispatch,
    .running = (void*)maps_running,
    .init_task = (void*)maps_init_task,
    .exit_task = (void*)maps_exit_task,
    .init = (void*)maps_init,
    .exit = (void*)maps_exit,
    .exit_dump_len = EXIT_DUMP_BYTES,
    .name = "floe_maps",
};

// Run once by the loader: records of different lengths, every third of them given up.
SEC("syscall")
int maps_fill_ring(void* ctx) {
  const int records = 5 + (int)(floe_mix(maps_seed, FLOE_MAP_RINGBUF, 0, 9) % 12);
  int i;
  bpf_for(i, 0, records) {
    struct floe_value* value = bpf_ringbuf_reserve(&floe_ring, sizeof *value, 0);
    if (!value) return 1;
    floe_fill_value(value, maps_seed, FLOE_MAP_RINGBUF, i);
    if ((u32)i % 3 == 2)
      bpf_ringbuf_discard(value, BPF_RB_NO_WAKEUP);
    else
      bpf_ringbuf_submit(value, BPF_RB_NO_WAKEUP);
  }
  return 0;
}

// Run by the loader too, never attached: the stack of that system call, with fewer and fewer of its frames.
SEC("raw_tp")
int maps_fill_stacks(void* ctx) {
  for (u64 skip = 0; skip < 4; ++skip) bpf_get_stackid(ctx, &floe_stacks, skip);
  return 0;
}
