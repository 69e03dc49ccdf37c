// floe_stall: schedules everybody first in, first out, but tasks whose name begins with a prefix go to a DSQ that nobody consumes.
// They stay runnable and never run, until the kernel's watchdog ends the scheduler: SCX_EXIT_ERROR_STALL.
#include "exit_latch.bpf.h"

#define SHARED_DSQ 0x100
#define NEVER_DSQ 0x5157

char _license[] SEC("license") = "GPL";

const volatile char stall_prefix[16] = "stallme";

u64 stall_stuck;      // tasks put where nobody takes them
s32 stall_stuck_pid;  // the newest of them

s32 SCHED_OP(stall_select_cpu, struct task_struct* p, s32 prev_cpu, u64 wake_flags) {
  bool is_idle = false;
  if (named(p, stall_prefix)) return prev_cpu;  // else it would go straight to an idle CPU
  const s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
  if (is_idle) insert_fifo(p, SCX_DSQ_LOCAL, 0);
  return cpu;
}

void SCHED_OP(stall_enqueue, struct task_struct* p, u64 enq_flags) {
  if (named(p, stall_prefix)) {
    __sync_fetch_and_add(&stall_stuck, 1);
    stall_stuck_pid = p->pid;
    insert_fifo(p, NEVER_DSQ, enq_flags);
    return;
  }
  insert_fifo(p, SHARED_DSQ, enq_flags);
}

void SCHED_OP(stall_dispatch, s32 cpu, struct task_struct* prev) {
  take_from(SHARED_DSQ);
}

void SCHED_OP(stall_running, struct task_struct* p) {
  note_scheduler(p);
}

s32 SCHED_OP_SLEEPABLE(stall_init) {
  const s32 failed = scx_bpf_create_dsq(SHARED_DSQ, -1);
  return failed ? failed : scx_bpf_create_dsq(NEVER_DSQ, -1);
}

void SCHED_OP(stall_exit, struct scx_exit_info* info) {
  latch_exit(info);
}

SEC(".struct_ops.link")
struct sched_ext_ops stall_ops = {
    .select_cpu = (void*)stall_select_cpu,
    .enqueue = (void*)stall_enqueue,
    .dispatch = (void*)stall_dispatch,
    .running = (void*)stall_running,
    .init = (void*)stall_init,
    .exit = (void*)stall_exit,
    .exit_dump_len = EXIT_DUMP_BYTES,
    .name = "floe_stall",
};
