// What the guest's CPUs say they are: the CPUID leaves KVM supports here, with the topology of this VM (one package, one
// thread a core) written into the leaves that carry APIC ids and counts.
#pragma once

#include <string_view>

#include "vmm/kvm.hpp"

namespace floe::vmm {

// Words for the kernel's command line that make up for a feature which this host's table withholds; empty where it withholds none.
//
// Without CX16 the kernel's kmalloc_nolock() fails for every slab cache but those under debugging (mm/slub.c, since 6.18), and with it BPF
// arenas and local storage, which sched_ext schedulers live on. Consistency checks (F) are the debugging that leaves objects as they are.
std::string_view words_for_kernel();

// The host's supported leaves (KVM_GET_SUPPORTED_CPUID).
Result<kvm::CpuidTable> supported_cpuid(int kvm_fd);

// The table for the vCPU with APIC id `apic_id` of `cpus`.
kvm::CpuidTable cpuid_for(const kvm::CpuidTable& supported, unsigned apic_id, unsigned cpus);

// The XCR0 bits these leaves allow (leaf 0xD.0 EAX:EDX), 0 when the CPU has no XSAVE.
std::uint64_t allowed_xcr0(const kvm::CpuidTable& table);

}  // namespace floe::vmm
