// The registers of one x86-64 CPU, as the notes of a core carry them.
//
// NT_PRSTATUS has the general ones (struct elf_prstatus of <linux/elfcore.h>; its pr_reg is struct user_regs_struct). QEMU's own note,
// which cloud-hypervisor and floe write too, adds segments, tables and control registers (QEMUCPUState, target/i386/arch_dump.c).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace floe::walkers::core {

struct SegmentRegister {
  std::uint32_t selector = 0;
  std::uint32_t limit = 0;
  std::uint32_t flags = 0;  // the attribute bits of a descriptor's second word, where it has them
  std::uint64_t base = 0;
};

struct Registers {
  std::uint32_t id = 0;  // of the CPU; in a core of somebody else's, its place among the notes
  std::uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rsp = 0, rbp = 0;
  std::uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
  std::uint64_t rip = 0, rflags = 0;
  SegmentRegister cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;  // NT_PRSTATUS alone: selectors, and the bases of fs and gs
  std::optional<std::array<std::uint64_t, 5>> cr;             // CR0 to CR4
  std::optional<std::uint64_t> kernel_gs_base;                // MSR_KERNEL_GS_BASE

  std::optional<std::uint64_t> cr3() const { return cr ? std::optional((*cr)[3]) : std::nullopt; }
};

}  // namespace floe::walkers::core
