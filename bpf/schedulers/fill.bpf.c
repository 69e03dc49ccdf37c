// What floe_maps_all cannot put into its maps from user space, and a struct_ops map for kernels without sched_ext: a TCP congestion
// control that does what it must.
#include "scx.bpf.h"
// after it
#include "records.h"

char _license[] SEC("license") = "GPL";

u64 fill_seed;
u64 fill_map;  // its number for floe_mix()
// For the BTF of all those maps.
struct floe_key fill_key;
struct floe_value fill_value;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 8192);
} all_ringbuf SEC(".maps");

#define STACK_DEPTH 24
struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 8);
  __uint(key_size, sizeof(u32));
  __uint(value_size, STACK_DEPTH * sizeof(u64));
} all_stacks SEC(".maps");

SEC("syscall")
int fill_ring(void* ctx) {
  for (u64 i = 0; i < 9; ++i) {
    struct floe_value* value = bpf_ringbuf_reserve(&all_ringbuf, sizeof *value, 0);
    if (!value) return 1;
    floe_fill_value(value, fill_seed, fill_map, i);
    bpf_ringbuf_submit(value, BPF_RB_NO_WAKEUP);
  }
  return 0;
}

SEC("raw_tp")
int fill_stacks(void* ctx) {
  for (u64 skip = 0; skip < 3; ++skip) bpf_get_stackid(ctx, &all_stacks, skip);
  return 0;
}

// include/net/tcp.h
struct sock {
  int unused;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
  u32 (*ssthresh)(struct sock* sk);
  void (*cong_avoid)(struct sock* sk, u32 ack, u32 acked);
  u32 (*undo_cwnd)(struct sock* sk);
  char name[16];
};

SEC("struct_ops")
u32 BPF_PROG(calm_ssthresh, struct sock* sk) {
  return 2;
}

SEC("struct_ops")
void BPF_PROG(calm_cong_avoid, struct sock* sk, u32 ack, u32 acked) {}

SEC("struct_ops")
u32 BPF_PROG(calm_undo_cwnd, struct sock* sk) {
  return 2;
}

SEC(".struct_ops")
struct tcp_congestion_ops all_struct_ops = {
    .ssthresh = (void*)calm_ssthresh,
    .cong_avoid = (void*)calm_cong_avoid,
    .undo_cwnd = (void*)calm_undo_cwnd,
    .name = "floe_calm",
};
