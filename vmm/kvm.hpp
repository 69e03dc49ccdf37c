// The kernel's KVM interface, made safe to use from C++.
//
// <linux/kvm.h> of Debian 12 declares its flexible arrays through a macro that, in C++, adds an empty struct of size 1. Thirteen
// ioctl numbers encode the size of such a struct and come out wrong (EINVAL at run time). The numbers and the table types
// below are the C ones; include this header instead of <linux/kvm.h>, and never use the originals.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe::vmm::kvm {

inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, char[8]);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, char[8]);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, char[8]);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, char[8]);
inline constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, char[8]);
inline constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, char[4096]);
static_assert(kGetSupportedCpuid == 0xc008ae05 && kSetCpuid2 == 0x4008ae90 && kGetMsrs == 0xc008ae88 && kSetMsrs == 0x4008ae89);
static_assert(kSetGsiRouting == 0x4008ae6a && kGetXsave == 0x9000aea4);

// The variable-length tables: a count, four bytes of padding or flags, then `count` entries.
template <class Entry, std::size_t Capacity>
struct Table {
  std::uint32_t count = 0;
  std::uint32_t flags = 0;
  std::array<Entry, Capacity> entries{};
};
using CpuidTable = Table<kvm_cpuid_entry2, 256>;
using MsrTable = Table<kvm_msr_entry, 64>;
using RoutingTable = Table<kvm_irq_routing_entry, 256>;

// ioctl with the name of the request in the error. Not for KVM_RUN: what a signal interrupted is tried again. (KVM_CREATE_VM starts
// a thread, which fails also for a task that merely has work of its io_uring pending.)
template <class Argument>
Result<int> call(int fd, unsigned long request, Argument argument, const char* name) {
  int r = 0;
  do {
    r = ::ioctl(fd, request, argument);
  } while (r < 0 && errno == EINTR);
  if (r < 0) return fail_errno(errno, name);
  return r;
}

// Opens /dev/kvm and checks the API version. The error tells what is wrong with this host's KVM and what to do: no such
// device, no permission (naming the group), or not a KVM. `code` is the errno of the open.
Result<UniqueFd> open_device();

}  // namespace floe::vmm::kvm
