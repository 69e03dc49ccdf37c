// sched_ext as the schedulers here see it: the kfuncs, their constants, and one name for what kernels name differently. Everything is
// weak: the loader resolves what the running kernel has, and the verifier drops the branch that it has not.
#pragma once

#include "kernel.h"
// after it
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

// include/linux/sched/ext.h
#define SCX_DSQ_LOCAL 0x8000000000000002ULL
#define SCX_SLICE_DFL 20000000ULL

struct scx_bpf_dsq_insert_vtime_args {
  u64 dsq_id;
  u64 slice;
  u64 vtime;
  u64 enq_flags;
};

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct* p, s32 prev_cpu, u64 wake_flags, bool* is_idle) __ksym __weak;
void scx_bpf_dsq_insert(struct task_struct* p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
bool __scx_bpf_dsq_insert_vtime(struct task_struct* p, struct scx_bpf_dsq_insert_vtime_args* args) __ksym __weak;
void scx_bpf_dsq_insert_vtime(struct task_struct* p, u64 dsq_id, u64 slice, u64 vtime, u64 enq_flags) __ksym __weak;
bool scx_bpf_dsq_move_to_local(u64 dsq_id) __ksym __weak;
bool scx_bpf_task_set_dsq_vtime(struct task_struct* p, u64 vtime) __ksym __weak;
void scx_bpf_error_bstr(char* fmt, unsigned long long* data, u32 data__sz) __ksym __weak;
// 6.12 and before
void scx_bpf_dispatch(struct task_struct* p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch_vtime(struct task_struct* p, u64 dsq_id, u64 slice, u64 vtime, u64 enq_flags) __ksym __weak;
bool scx_bpf_consume(u64 dsq_id) __ksym __weak;

#define SCHED_OP(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define SCHED_OP_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

static __always_inline void insert_fifo(struct task_struct* p, u64 dsq_id, u64 enq_flags) {
  if (bpf_ksym_exists(scx_bpf_dsq_insert))
    scx_bpf_dsq_insert(p, dsq_id, SCX_SLICE_DFL, enq_flags);
  else
    scx_bpf_dispatch(p, dsq_id, SCX_SLICE_DFL, enq_flags);
}

static __always_inline void insert_vtime(struct task_struct* p, u64 dsq_id, u64 vtime, u64 enq_flags) {
  if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
    struct scx_bpf_dsq_insert_vtime_args args = {.dsq_id = dsq_id, .slice = SCX_SLICE_DFL, .vtime = vtime, .enq_flags = enq_flags};
    __scx_bpf_dsq_insert_vtime(p, &args);
  } else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime)) {
    scx_bpf_dsq_insert_vtime(p, dsq_id, SCX_SLICE_DFL, vtime, enq_flags);
  } else {
    scx_bpf_dispatch_vtime(p, dsq_id, SCX_SLICE_DFL, vtime, enq_flags);
  }
}

static __always_inline bool take_from(u64 dsq_id) {
  return bpf_ksym_exists(scx_bpf_dsq_move_to_local) ? scx_bpf_dsq_move_to_local(dsq_id) : scx_bpf_consume(dsq_id);
}

static __always_inline void set_vtime(struct task_struct* p, u64 vtime) {
  if (bpf_ksym_exists(scx_bpf_task_set_dsq_vtime))
    scx_bpf_task_set_dsq_vtime(p, vtime);
  else
    p->scx.dsq_vtime = vtime;
}

// Whether the task's name begins with `prefix`; an empty prefix fits no task.
static __always_inline bool named(const struct task_struct* p, const volatile char* prefix) {
  if (!prefix[0]) return false;
  for (int i = 0; i < 15; ++i) {
    if (!prefix[i]) return true;
    if (p->comm[i] != prefix[i]) return false;
  }
  return true;
}
