// floe_fair: a well-behaved scheduler with weights and three DSQs of its own.
//
// Tasks of more than the default weight (nice below 0, most kernel threads) share a FIFO; the others stand in one of two queues
// ordered by virtual time, which grows the slower the heavier the task. Dispatch begins with another queue each time, so none of
// them starves.
#include "exit_latch.bpf.h"

#define URGENT_DSQ 0x100
#define FAIR_DSQ 0x200  // and 0x201
#define FAIR_DSQS 2
#define DEFAULT_WEIGHT 100

char _license[] SEC("license") = "GPL";

u64 fair_vtime_now[FAIR_DSQS];
u64 fair_turn;
u64 fair_enqueued[FAIR_DSQS + 1];  // the urgent queue last

static __always_inline u32 queue_of(const struct task_struct* p) {
  return p->pid & 1;
}

void SCHED_OP(fair_enqueue, struct task_struct* p, u64 enq_flags) {
  if (p->scx.weight > DEFAULT_WEIGHT) {
    __sync_fetch_and_add(&fair_enqueued[FAIR_DSQS], 1);
    insert_fifo(p, URGENT_DSQ, enq_flags);
    return;
  }
  const u32 queue = queue_of(p);
  // Who slept is credited one slice, not the whole time.
  u64 vtime = p->scx.dsq_vtime;
  const u64 oldest = fair_vtime_now[queue] - SCX_SLICE_DFL;
  if ((s64)(vtime - oldest) < 0) vtime = oldest;
  __sync_fetch_and_add(&fair_enqueued[queue], 1);
  insert_vtime(p, FAIR_DSQ + queue, vtime, enq_flags);
}

void SCHED_OP(fair_dispatch, s32 cpu, struct task_struct* prev) {
  static const u64 queues[] = {URGENT_DSQ, FAIR_DSQ, URGENT_DSQ, FAIR_DSQ + 1};
  const u64 turn = __sync_fetch_and_add(&fair_turn, 1);
  for (u32 i = 0; i < 4; ++i) {
    if (take_from(queues[(turn + i) & 3])) return;
  }
}

void SCHED_OP(fair_running, struct task_struct* p) {
  note_scheduler(p);
  const u32 queue = queue_of(p);
  if ((s64)(p->scx.dsq_vtime - fair_vtime_now[queue]) > 0) fair_vtime_now[queue] = p->scx.dsq_vtime;
}

void SCHED_OP(fair_stopping, struct task_struct* p, bool runnable) {
  const u64 left = p->scx.slice;
  const u64 used = left < SCX_SLICE_DFL ? SCX_SLICE_DFL - left : 0;
  const u32 weight = p->scx.weight;
  set_vtime(p, p->scx.dsq_vtime + used * DEFAULT_WEIGHT / (weight ? weight : 1));
}

void SCHED_OP(fair_enable, struct task_struct* p) {
  set_vtime(p, fair_vtime_now[queue_of(p)]);
}

s32 SCHED_OP_SLEEPABLE(fair_init) {
  s32 failed = scx_bpf_create_dsq(URGENT_DSQ, -1);
  for (u32 i = 0; i < FAIR_DSQS && !failed; ++i) failed = scx_bpf_create_dsq(FAIR_DSQ + i, -1);
  return failed;
}

void SCHED_OP(fair_exit, struct scx_exit_info* info) {
  latch_exit(info);
}

SEC(".struct_ops.link")
struct sched_ext_ops fair_ops = {
    .enqueue = (void*)fair_enqueue,
    .dispatch = (void*)fair_dispatch,
    .running = (void*)fair_running,
    .stopping = (void*)fair_stopping,
    .enable = (void*)fair_enable,
    .init = (void*)fair_init,
    .exit = (void*)fair_exit,
    .exit_dump_len = EXIT_DUMP_BYTES,
    .name = "floe_fair",
};
