// Reading a Linux kernel from the outside.
//
// floe learns what a guest's kernel is doing from the guest's memory alone: no agent inside, no symbol file, no knowledge of
// the version. The layers, each usable by itself:
//
//   Memory         guest-physical bytes of an instant: a frozen guest, a snapshot, a core     memory.hpp
//   CoreMemory     those of an ELF core, /proc/kcore included                                  core/core_file.hpp
//   VmCoreInfo     the kernel's own note on where it is, found by scanning                     vmcoreinfo.hpp
//   PageTables     kernel-virtual to guest-physical                                            page_tables.hpp
//   PagedMemory    kernel-virtual bytes                                                        kernel_memory.hpp
//   Symbols        names and addresses (kallsyms)                                              symbols.hpp
//   Types          structs and members (BTF)                                                   types.hpp
//   Kernel         all of that, opened and proven                                              kernel.hpp
//   uts(), tasks() one function per question                                                   uts.hpp, tasks.hpp
//   kernel_log()   the printk ring                                                             printk.hpp
//   CodeAddresses, Unwinder   functions by address, kernel stacks                              code_address.hpp, unwind.hpp
//   render::Renderer   values of BPF maps by their BTF, as JSON or as a tree                   render/
//   bpf::CastAnalysis  which of their integers are pointers, from the scheduler's executable   bpf/casts.hpp
//   bpf::loaded_object()   the same without it: the instructions that the kernel has           bpf/loaded_object.hpp
//
//   const auto kernel = walkers::Kernel::open(memory);            // 40 ms; the next snapshot: open(memory, *kernel), < 1 ms
//   if (!kernel) return fail(kernel.error());
//   const auto table = walkers::tasks(*kernel);
//   for (const auto& task : table->tasks) fmt::print("{} {}\n", task.pid, task.comm);
//
// The guest is hostile: every pointer, length and count in it is checked, every walk is bounded (WalkBudget) and proof against
// loops, and what could not be read is absent, with a reason, never zero.
#pragma once

#include "walkers/budget.hpp"
#include "walkers/code_address.hpp"
#include "walkers/kernel.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/memory.hpp"
#include "walkers/page_tables.hpp"
#include "walkers/printk.hpp"
#include "walkers/symbols.hpp"
#include "walkers/tasks.hpp"
#include "walkers/types.hpp"
#include "walkers/unwind.hpp"
#include "walkers/uts.hpp"
#include "walkers/vmcoreinfo.hpp"
