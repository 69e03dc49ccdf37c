// How a scheduler here ended, kept in its own sections: the kernel frees struct scx_exit_info a tenth of a second after the end, while
// these stay as long as the loader lives. The loader prints them; floe reads the floe_exit_* variables of .bss from guest memory.
//
// Each scheduler calls note_scheduler() where it runs often, and latch_exit() from ops.exit.
#pragma once

#include "scx.bpf.h"

#define EXIT_DUMP_BYTES 65536

u32 floe_exit_kind_snap;  // enum scx_exit_kind, 0 = still running; set last
u8 floe_exit_aborting;
s32 floe_exit_bypass_depth;
u64 floe_exit_sched_kva;         // struct scx_sched, or 0 on kernels without
u64 floe_exit_watchdog_timeout;  // jiffies
s64 floe_exit_code;
u64 floe_exit_at_ns;  // CLOCK_MONOTONIC
char floe_exit_reason[128];
char floe_exit_msg[1024];
// In a section of its own, that .bss stays readable.
char floe_exit_dump[EXIT_DUMP_BYTES] SEC(".data.exit_dump") = {};

// struct scx_sched is reachable from a task that it schedules; symbols of the kernel would cost the loader a pass over kallsyms.
static __always_inline void note_scheduler(const struct task_struct* p) {
  if (!floe_exit_sched_kva && bpf_core_field_exists(p->scx.sched)) floe_exit_sched_kva = (u64)p->scx.sched;
}

static __always_inline void latch_exit(const struct scx_exit_info* info) {
  const struct scx_sched* sched = (const struct scx_sched*)floe_exit_sched_kva;
  if (sched) {
    if (bpf_core_field_exists(sched->bypass_depth)) floe_exit_bypass_depth = BPF_CORE_READ(sched, bypass_depth);
    if (bpf_core_field_exists(sched->aborting)) floe_exit_aborting = BPF_CORE_READ(sched, aborting);
    if (bpf_core_field_exists(sched->watchdog_timeout)) floe_exit_watchdog_timeout = BPF_CORE_READ(sched, watchdog_timeout);
  }
  floe_exit_code = info->exit_code;
  floe_exit_at_ns = bpf_ktime_get_ns();
  bpf_probe_read_kernel_str(floe_exit_reason, sizeof floe_exit_reason, info->reason);
  bpf_probe_read_kernel_str(floe_exit_msg, sizeof floe_exit_msg, info->msg);
  bpf_probe_read_kernel_str(floe_exit_dump, sizeof floe_exit_dump, info->dump);
  __sync_lock_test_and_set(&floe_exit_kind_snap, info->kind);  // an exchange orders; BPF has no fence
}
