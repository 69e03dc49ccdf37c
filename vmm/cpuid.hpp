// What the guest's CPUs say they are: the CPUID leaves KVM supports here, with the topology of this VM (one package, one
// thread a core) written into the leaves that carry APIC ids and counts.
#pragma once

#include "vmm/kvm.hpp"

namespace floe::vmm {

// The host's supported leaves (KVM_GET_SUPPORTED_CPUID).
Result<kvm::CpuidTable> supported_cpuid(int kvm_fd);

// The table for the vCPU with APIC id `apic_id` of `cpus`.
kvm::CpuidTable cpuid_for(const kvm::CpuidTable& supported, unsigned apic_id, unsigned cpus);

// The XCR0 bits these leaves allow (leaf 0xD.0 EAX:EDX), 0 when the CPU has no XSAVE.
std::uint64_t allowed_xcr0(const kvm::CpuidTable& table);

}  // namespace floe::vmm
