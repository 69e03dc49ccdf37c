// The program inside the tiny guest: one vCPU, one loop, chosen by a word in memory.
//
// It runs in ring 3 from its first instruction (the harness sets the registers), because a software KVM runs ring 3 natively and
// emulates ring 0 at about 1 us an instruction. Ring 0 is what hardware insists on: hlt, interrupts, faults. Interrupts and
// gates enter it on a stack inside the vCPU's own area, so that a handler finds the area from its stack pointer.
#include "payload.h"
#include "abi.h"

// clang-format off
__asm__(
    ".section .header, \"a\"\n"
    ".quad 0x54494e59464c4f45, tiny_entry, fault_stubs, wake_gate, call_gate, in_instruction, tiny_end\n"
    ".text\n"
    ".p2align 4\n"
    "fault_stubs:\n"
    ".set vector, 0\n"
    ".rept 32\n"
    "  .p2align 4\n"
    "  .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)\n"
    "  push $0\n"  // where the CPU pushes no error code
    "  .endif\n"
    "  push $vector\n"
    "  jmp fault_common\n"
    "  .set vector, vector + 1\n"
    ".endr\n"
    "fault_common:\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call tiny_fault\n"
    "wake_gate:\n"
    "  push %rax\n"
    "  mov %rsp, %rax\n"
    "  and $-0x40000, %rax\n"
    "  incq 0x3008(%rax)\n"           // wakes
    "  mov $0xfee000b0, %eax\n"
    "  movl $0, (%rax)\n"             // end of interrupt
    "  pop %rax\n"
    "  iretq\n"
    // Ring 3 asks ring 0 for something by an invalid opcode at a known place: a software KVM does not take `int` there.
    "ring0_call:\n"
    "  ud2\n"
    "  ret\n"
    "call_gate:\n"
    "  push %rax\n"
    "  mov $ring0_call, %eax\n"
    "  cmp %rax, 8(%rsp)\n"
    "  je 1f\n"
    "  pop %rax\n"
    "  jmp fault_stubs + 6 * 16\n"
    "1:\n"
    "  addq $2, 8(%rsp)\n"
    "  mov %rsp, %rax\n"
    "  and $-0x40000, %rax\n"
    "  cmpl $8, (%rax)\n"  // mode == TINY_DIE
    "  je 3f\n"
    // Interrupts come in only between sti and cli; sti delays them by one instruction, so that one that arrives behind the look at the
    // mode ends the hlt.
    "1:\n"
    "  cmpl $2, (%rax)\n"  // mode == TINY_HALT
    "  jne 2f\n"
    "  movq $1, 0x3010(%rax)\n"  // halted
    "  sti\n"
    "  hlt\n"
    "  cli\n"
    "  jmp 1b\n"
    "2:\n"
    "  movq $0, 0x3010(%rax)\n"
    "  pop %rax\n"
    "  iretq\n"
    "3:\n"
    "  push $0\n"
    "  push $0\n"
    "  lidt (%rsp)\n"                 // an empty table: no fault can be delivered, nor the double fault behind it
    "  ud2\n");
// clang-format on

_Static_assert(TINY_AREA_BYTES == 0x40000 && TINY_STATUS == 0x3000 && TINY_HALT == 2 && TINY_DIE == 8, "the assembly above says so");
_Static_assert(__builtin_offsetof(struct tiny_status, wakes) == 8 && __builtin_offsetof(struct tiny_status, halted) == 16, "and so");

// On the ring-0 stack: vector, error code, then what the CPU pushed.
__attribute__((used, noreturn)) void tiny_fault(const uint64_t* frame) {
  volatile struct tiny_status* status = status_of((uint64_t)frame & -(uint64_t)TINY_AREA_BYTES);
  status->fault_code = frame[1];
  status->fault_rip = frame[2];
  status->fault_vector = frame[0] + 1;
  out32(TINY_PORT_FAULT, (uint32_t)frame[0]);
  for (;;) __asm__ volatile("cli; hlt");
}

void ring0_call(void);  // does what the mode says, and returns when it says something else

static void spin(uint64_t area, uint32_t mode) {
  uint64_t turns = 0;
  while (parameters_of(area)->mode == mode)
    if ((++turns & 0xffff) == 0) ++status_of(area)->progress;
}

static void count(uint64_t area) {
  const volatile struct tiny_parameters* parameters = parameters_of(area);
  volatile struct tiny_status* status = status_of(area);
  volatile uint64_t* counter = (volatile uint64_t*)(area + TINY_COUNTER);
  volatile uint64_t* mirror = (volatile uint64_t*)(area + TINY_MIRROR);
  uint64_t value = *counter, turns = 0, page = 0;
  while (parameters->mode == TINY_COUNT) {
    ++value;
    *counter = value;
    *mirror = value;
    if (parameters->pace == 0 || ++turns < parameters->pace) continue;
    turns = 0;
    if (page >= parameters->dirty_pages) page = 0;
    if (parameters->dirty_pages == 0) continue;
    *(volatile uint64_t*)(parameters->dirty_start + page * 4096) = value;
    ++page;
    ++status->dirtied;
  }
}

static void watch(uint64_t area) {
  const volatile struct tiny_parameters* parameters = parameters_of(area);
  volatile struct tiny_status* status = status_of(area);
  uint64_t last = timestamp();
  while (parameters->mode == TINY_WATCH) {
    const uint64_t now = timestamp();
    if (status->watched != parameters->watch) {
      status->longest_gap = 0;
      barrier();
      status->watched = parameters->watch;
    } else if (now - last > status->longest_gap) {
      status->longest_gap = now - last;
    }
    last = now;
    ++status->progress;
  }
}

static void write_ports(uint64_t area) {
  while (parameters_of(area)->mode == TINY_OUT) {
    out32(TINY_PORT_EXIT, (uint32_t)status_of(area)->progress);
    ++status_of(area)->progress;
  }
}

// One copy of the loop, in assembly, so that the harness knows which instruction is which.
static void read_ports(uint64_t area) {
  __asm__ volatile(
      "1: cmpl %[mode], (%[area])\n"
      "  jne 2f\n"
      "in_instruction:\n"
      "  inl %%dx, %%eax\n"
      "  movl %%eax, 0x3020(%[area])\n"
      "  jmp 1b\n"
      "2:\n"
      :
      : [mode] "i"(TINY_IN), [area] "r"(area), "d"(TINY_PORT_SEQUENCE)
      : "eax", "memory", "cc");
}
_Static_assert(__builtin_offsetof(struct tiny_status, last_in) == 0x20, "the assembly above says so");

__attribute__((used, noreturn, section(".text"))) void tiny_entry(uint64_t area) {
  for (;;) {
    const uint32_t mode = parameters_of(area)->mode;
    switch (mode) {
      case TINY_COUNT:
        count(area);
        break;
      case TINY_HALT:
      case TINY_DIE:
        ring0_call();
        break;
      case TINY_WATCH:
        watch(area);
        break;
      case TINY_OUT:
        write_ports(area);
        break;
      case TINY_IN:
        read_ports(area);
        break;
      case TINY_LATCH:
        out32(TINY_PORT_LATCH, 0);
        spin(area, mode);
        break;
      case TINY_FRAMES:
      case TINY_GARBAGE:
        send(area, mode);
        spin(area, mode);
        break;
      default:
        spin(area, mode);
    }
  }
}
