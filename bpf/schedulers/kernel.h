// The kernel's types as far as the schedulers here look into them. Every access through a pointer to one of them is relocated at load
// time by the BTF of the kernel that runs (preserve_access_index), so only names matter here, neither order nor completeness; that
// is also why no generated vmlinux.h is needed, and the objects build on a machine without any kernel.
//
// struct sched_ext_ops (kernel/sched/ext_internal.h): libbpf fills the kernel's from this one member by member, by name.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <linux/version.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

// include/uapi/linux/bpf.h of 6.9; that of Debian 12 is older.
#define BPF_MAP_TYPE_ARENA 33
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
struct bpf_iter_num {
  __u64 __opaque[1];
} __attribute__((aligned(8)));
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

// From SCX_EXIT_ERROR on it is an error (kernel/sched/ext_internal.h).
enum scx_exit_kind { SCX_EXIT_NONE = 0, SCX_EXIT_ERROR = 1024 };

struct scx_exit_info {
  enum scx_exit_kind kind;
  s64 exit_code;
  const char* reason;
  char* msg;
  char* dump;
};

struct scx_sched {
  s32 bypass_depth;
  bool aborting;
  unsigned long watchdog_timeout;
};

struct sched_ext_entity {
  struct scx_sched* sched;
  u32 weight;
  u64 slice;
  u64 dsq_vtime;
};

struct task_struct {
  int pid;
  int tgid;
  char comm[16];
  struct sched_ext_entity scx;
};

struct scx_init_task_args {
  bool fork;
};

struct scx_exit_task_args {
  bool cancelled;
};

#pragma clang attribute pop

struct sched_ext_ops {
  s32 (*select_cpu)(struct task_struct* p, s32 prev_cpu, u64 wake_flags);
  void (*enqueue)(struct task_struct* p, u64 enq_flags);
  void (*dispatch)(s32 cpu, struct task_struct* prev);
  void (*running)(struct task_struct* p);
  void (*stopping)(struct task_struct* p, bool runnable);
  void (*enable)(struct task_struct* p);
  s32 (*init_task)(struct task_struct* p, struct scx_init_task_args* args);
  void (*exit_task)(struct task_struct* p, struct scx_exit_task_args* args);
  s32 (*init)(void);
  void (*exit)(struct scx_exit_info* info);
  u64 flags;
  u32 timeout_ms;
  u32 exit_dump_len;
  char name[128];
};
