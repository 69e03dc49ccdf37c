// Kernel stacks of tasks, sleeping or running, as /proc/PID/stack and an oops show them.
//
// A sleeping task left its registers on its stack when it switched away (thread.sp, struct inactive_task_frame); a running one has them
// in its vCPU. From there each caller follows by ORC (orc.hpp), through interrupt and exception frames and from one stack to the next
// (task, hardirq, exception, entry), until the tables say that the stack ends or user space begins. Code without ORC is assumed to keep
// frame pointers, as arch/x86/kernel/unwind_orc.c does: that is true of BPF programs, and a guess elsewhere. Kernels built with
// UNWINDER_FRAME_POINTER are walked by their frame pointers.
//
// Everything read is on a stack that the task can be on, a stack is entered once and only left upwards, and there are at most
// kMaxFrames. Functions that tracing has replaced the return address of (return_to_handler) end the walk, with that reason.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/code_address.hpp"
#include "walkers/kernel.hpp"
#include "walkers/orc.hpp"
#include "walkers/tasks.hpp"

namespace floe::walkers {

struct Frame {
  Kva ip;                // innermost and interrupted frames: the next instruction; the others: the return address
  std::string text;      // "do_nanosleep+0x6a/0x1a0"
  bool reliable = true;  // no guess stands between it and the start
};

struct Backtrace {
  std::vector<Frame> frames;  // innermost first
  bool complete = false;      // followed to the stack's end
  std::string reason;         // why not; or, of a complete one without frames, where the task is

  bool operator==(const Backtrace&) const = default;
};
inline bool operator==(const Frame& a, const Frame& b) {
  return a.ip == b.ip && a.text == b.text && a.reliable == b.reliable;
}

// What a running CPU's frame can be found from.
struct CpuRegisters {
  std::uint32_t cpu = 0;
  std::uint64_t ip = 0, sp = 0, bp = 0, ax = 0, dx = 0, di = 0, r10 = 0, r13 = 0;
};

class Unwinder {
 public:
  static constexpr std::size_t kMaxFrames = 128;

  // Both outlive it, and it must not be used by two threads at once. Error: why this kernel's stacks cannot be read.
  static Result<Unwinder> create(const Kernel& kernel, const CodeAddresses& code);

  // Of a task as it is: `cpus` has the registers of those CPUs that are known. Takes a step per frame from `budget`.
  Backtrace of(const Task& task, std::span<const CpuRegisters> cpus, WalkBudget& budget) const;

  // Of a task that runs on no CPU.
  Backtrace sleeping(Kva task, WalkBudget& budget) const;

  // Of what a CPU executes. `task` is the task that it runs.
  Backtrace running(Kva task, const CpuRegisters& registers, WalkBudget& budget) const;

 private:
  class Walk;
  struct Stack {
    std::uint64_t start = 0;
    std::uint64_t end = 0;  // one past
    bool holds(std::uint64_t address, std::uint64_t bytes) const { return address >= start && address < end && bytes <= end - address; }
  };
  struct Fields {
    Field stack, thread_sp, frame_bp, frame_ip;
    std::uint64_t frame_bytes = 0;
    Field ip, cs, sp, bp, ax, dx, di, r10, r13;  // of struct pt_regs
    std::uint64_t regs_bytes = 0;
    std::uint64_t thread_bytes = 0;      // THREAD_SIZE
    std::uint64_t irq_bytes = 0;         // IRQ_STACK_SIZE
    std::optional<Field> hot_irq_stack;  // pcpu_hot.hardirq_stack_ptr, 6.2 .. 6.14
    std::vector<Field> exception_stacks;
    std::optional<Field> entry_stack;
    std::uint64_t entry_area_bytes = 0;

    static Result<Fields> resolve(const Kernel& kernel);
  };

  Unwinder(const Kernel& kernel, const CodeAddresses& code, Fields fields, std::optional<OrcLookup> orc)
      : kernel_(&kernel), code_(&code), fields_(std::move(fields)), orc_(std::move(orc)) {}
  std::optional<Stack> task_stack(Kva task) const;
  std::vector<Stack> cpu_stacks(std::uint32_t cpu) const;

  const Kernel* kernel_;
  const CodeAddresses* code_;
  Fields fields_;
  std::optional<OrcLookup> orc_;  // without: frame pointers
};

}  // namespace floe::walkers
