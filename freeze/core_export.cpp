#include "freeze/core_export.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace floe::freeze {
namespace {

using walkers::core::Registers;
using walkers::core::SegmentRegister;

constexpr std::uint32_t kMsrKernelGsBase = 0xc0000102;

// `flags` are the descriptor's second word: type at bit 8, S 12, DPL 13, P 15, AVL 20, L 21, D/B 22, G 23.
SegmentRegister segment_of(const kvm_segment& segment) {
  const std::uint32_t flags = std::uint32_t{segment.type} << 8 | std::uint32_t{segment.s} << 12 | std::uint32_t{segment.dpl} << 13 |
                              std::uint32_t{segment.present && !segment.unusable} << 15 | std::uint32_t{segment.avl} << 20 |
                              std::uint32_t{segment.l} << 21 | std::uint32_t{segment.db} << 22 | std::uint32_t{segment.g} << 23;
  return {segment.selector, segment.limit, flags, segment.base};
}

SegmentRegister segment_of(const kvm_dtable& table) {
  return {0, table.limit, 0, table.base};
}

}  // namespace

Registers registers_of(std::uint32_t id, const vmm::VcpuState& state) {
  Registers cpu;
  cpu.id = id;
  const kvm_regs& general = state.regs;
  cpu.rax = general.rax, cpu.rbx = general.rbx, cpu.rcx = general.rcx, cpu.rdx = general.rdx;
  cpu.rsi = general.rsi, cpu.rdi = general.rdi, cpu.rsp = general.rsp, cpu.rbp = general.rbp;
  cpu.r8 = general.r8, cpu.r9 = general.r9, cpu.r10 = general.r10, cpu.r11 = general.r11;
  cpu.r12 = general.r12, cpu.r13 = general.r13, cpu.r14 = general.r14, cpu.r15 = general.r15;
  cpu.rip = general.rip, cpu.rflags = general.rflags;
  const kvm_sregs& special = state.sregs;
  cpu.cs = segment_of(special.cs), cpu.ds = segment_of(special.ds), cpu.es = segment_of(special.es);
  cpu.fs = segment_of(special.fs), cpu.gs = segment_of(special.gs), cpu.ss = segment_of(special.ss);
  cpu.ldt = segment_of(special.ldt), cpu.tr = segment_of(special.tr);
  cpu.gdt = segment_of(special.gdt), cpu.idt = segment_of(special.idt);
  cpu.cr = {special.cr0, 0, special.cr2, special.cr3, special.cr4};
  const auto known = std::min<std::size_t>(state.msrs.count, state.msrs.entries.size());
  for (std::size_t n = 0; n < known; ++n)
    if (state.msrs.entries[n].index == kMsrKernelGsBase) cpu.kernel_gs_base = state.msrs.entries[n].data;
  return cpu;
}

Registers registers_of(const VcpuState& vcpu) {
  if (vcpu.blob.size() == sizeof(vmm::VcpuState)) {
    const auto state = std::make_unique<vmm::VcpuState>();
    std::memcpy(static_cast<void*>(state.get()), vcpu.blob.data(), sizeof *state);
    Registers cpu = registers_of(vcpu.id, *state);
    // A file from elsewhere may have anything of this size in it.
    if (cpu.rip == vcpu.ip && cpu.rsp == vcpu.sp && cpu.cr3() == vcpu.cr3) return cpu;
  }
  Registers cpu;
  cpu.id = vcpu.id;
  cpu.rip = vcpu.ip;
  cpu.rsp = vcpu.sp;
  cpu.cr = {0, 0, 0, vcpu.cr3, 0};
  return cpu;
}

walkers::core::CoreContents core_contents(const SnapshotMeta& meta, const MachineState& machine, const RamLayout& layout,
                                          std::optional<walkers::VmCoreInfo> vmcoreinfo) {
  walkers::core::CoreContents contents;
  for (const RamSlot& slot : layout.slots()) contents.ram.push_back({slot.start, slot.bytes});
  for (const VcpuState& vcpu : machine.vcpus) contents.notes.cpus.push_back(registers_of(vcpu));
  std::sort(contents.notes.cpus.begin(), contents.notes.cpus.end(), [](const Registers& a, const Registers& b) { return a.id < b.id; });
  contents.notes.vmcoreinfo = std::move(vmcoreinfo);
  contents.notes.floe = walkers::core::Origin{meta.sequence, meta.realtime_ns};
  return contents;
}

}  // namespace floe::freeze
