// floe_error: first in, first out, until a task whose name begins with a prefix becomes runnable: then it calls scx_bpf_error.
#include "exit_latch.bpf.h"

#define SHARED_DSQ 0x100

char _license[] SEC("license") = "GPL";

const volatile char error_prefix[16] = "errorme";

u64 error_calls;

void SCHED_OP(error_enqueue, struct task_struct* p, u64 enq_flags) {
  insert_fifo(p, SHARED_DSQ, enq_flags);
  if (!named(p, error_prefix)) return;
  __sync_fetch_and_add(&error_calls, 1);
  static char format[] = "floe_error: asked for by pid %d";
  unsigned long long words[] = {(u64)p->pid};
  scx_bpf_error_bstr(format, words, sizeof words);
}

void SCHED_OP(error_dispatch, s32 cpu, struct task_struct* prev) {
  take_from(SHARED_DSQ);
}

void SCHED_OP(error_running, struct task_struct* p) {
  note_scheduler(p);
}

s32 SCHED_OP_SLEEPABLE(error_init) {
  return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SCHED_OP(error_exit, struct scx_exit_info* info) {
  latch_exit(info);
}

SEC(".struct_ops.link")
struct sched_ext_ops error_ops = {
    .enqueue = (void*)error_enqueue,
    .dispatch = (void*)error_dispatch,
    .running = (void*)error_running,
    .init = (void*)error_init,
    .exit = (void*)error_exit,
    .exit_dump_len = EXIT_DUMP_BYTES,
    .name = "floe_error",
};
