#include "vmm/cpuid.hpp"

#include <cpuid.h>

#include <bit>
#include <cstring>

namespace floe::vmm {
namespace {

constexpr std::uint32_t bit(unsigned n) {
  return std::uint32_t{1} << n;
}

void set_field(std::uint32_t& value, unsigned low, unsigned width, std::uint32_t field) {
  const std::uint32_t mask = ((width == 32 ? 0 : bit(width)) - 1) << low;
  value = (value & ~mask) | ((field << low) & mask);
}

// Leaf 0xB / 0x1F, "extended topology": subleaf 0 is the SMT level, 1 the core level, further ones end the list.
void set_extended_topology(kvm_cpuid_entry2& entry, unsigned apic_id, unsigned cpus, unsigned id_bits) {
  entry.edx = apic_id;
  entry.eax = entry.ebx = 0;
  entry.ecx = entry.index;
  if (entry.index == 0) {
    entry.ebx = 1;
    entry.ecx = 0x100;
  } else if (entry.index == 1) {
    entry.eax = id_bits;
    entry.ebx = cpus;
    entry.ecx = 0x201;
  }
}

// QEMU's emulator loses the flags when an exit to the hypervisor follows a cmpxchg16b: the guest resumes with part of an operand in EFLAGS
// and dies with a double fault or a nonsense oops soon after. A kernel that is not offered CX16 uses its own fallback (SLUB, this_cpu_*).
void hide_what_the_emulator_breaks(kvm::CpuidTable& table) {
  constexpr unsigned kCx16 = 13;
  for (std::uint32_t i = 0; i < table.count; ++i)
    if (table.entries[i].function == 1) table.entries[i].ecx &= ~bit(kCx16);
}

// Whether this host's own CPU is QEMU's emulator (hypervisor leaf 0x40000000, signature in EBX, ECX, EDX).
bool host_is_emulated() {
  std::uint32_t eax = 0;
  std::uint32_t signature[3] = {};
  __cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
  return std::memcmp(signature, "TCGTCGTCGTCG", 12) == 0;
}

}  // namespace

std::string_view words_for_kernel() {
  return host_is_emulated() ? "slab_debug=F,kmalloc-*" : "";
}

Result<kvm::CpuidTable> supported_cpuid(int kvm_fd) {
  kvm::CpuidTable table;
  table.count = table.entries.size();
  const auto r = kvm::call(kvm_fd, kvm::kGetSupportedCpuid, &table, "KVM_GET_SUPPORTED_CPUID");
  if (!r) return fail(r.error());
  if (host_is_emulated()) hide_what_the_emulator_breaks(table);
  return table;
}

kvm::CpuidTable cpuid_for(const kvm::CpuidTable& supported, unsigned apic_id, unsigned cpus) {
  kvm::CpuidTable table = supported;
  const unsigned id_bits = std::bit_width(cpus - 1);
  for (std::uint32_t i = 0; i < table.count; ++i) {
    kvm_cpuid_entry2& entry = table.entries[i];
    switch (entry.function) {
      case 0x1:
        // KVM copies the physical CPU's APIC id; the kernel would refuse the others ("APIC id mismatch").
        set_field(entry.ebx, 24, 8, apic_id);
        set_field(entry.ebx, 16, 8, cpus);
        set_field(entry.edx, 28, 1, cpus > 1);
        entry.ecx |= bit(24);  // TSC deadline timer: the in-kernel LAPIC has it
        break;
      case 0x4:
        set_field(entry.eax, 14, 12, 0);        // threads sharing this cache, minus 1
        set_field(entry.eax, 26, 6, cpus - 1);  // cores in the package, minus 1
        break;
      case 0xb:
      case 0x1f:
        set_extended_topology(entry, apic_id, cpus, id_bits);
        break;
      case 0x80000001:
        set_field(entry.ecx, 1, 1, cpus > 1);  // CmpLegacy: AMD multi-core without topology extensions
        break;
      case 0x80000008:
        set_field(entry.ecx, 0, 8, cpus - 1);
        set_field(entry.ecx, 12, 4, id_bits);
        break;
      case 0x8000001e:
        entry.eax = apic_id;
        entry.ebx = apic_id;
        entry.ecx = 0;
        break;
      default:
        break;
    }
  }
  return table;
}

std::uint64_t allowed_xcr0(const kvm::CpuidTable& table) {
  bool xsave = false;
  std::uint64_t mask = 0;
  for (std::uint32_t i = 0; i < table.count; ++i) {
    const kvm_cpuid_entry2& entry = table.entries[i];
    if (entry.function == 1) xsave = (entry.ecx & bit(26)) != 0;
    if (entry.function == 0xd && entry.index == 0) mask = entry.eax | (std::uint64_t{entry.edx} << 32);
  }
  return xsave ? mask : 0;
}

}  // namespace floe::vmm
