// Puts a kernel, its initrd and its command line into guest RAM and the boot CPU at its entry.
//
// A bzImage starts by the 64-bit boot protocol (zero page at layout::kZeroPage, long mode, identity map of 4 GiB), so that its
// own decompressor applies KASLR; an ELF vmlinux by PVH (32-bit, no paging). The other CPUs stay in their reset state until the
// guest starts them by INIT+SIPI, which the in-kernel APIC handles.
// Sources: Documentation/arch/x86/boot.rst ("64-bit Boot Protocol", struct boot_params);
// include/xen/interface/hvm/start_info.h (struct hvm_start_info).
#pragma once

#include <span>
#include <string>

#include "vmm/kernel_image.hpp"
#include "vmm/kvm.hpp"
#include "vmm/ram.hpp"

namespace floe::vmm {

struct LinuxBoot {
  const KernelImage* kernel = nullptr;
  std::span<const std::byte> initrd;
  std::string command_line;
  unsigned cpus = 1;
};

// Everything that goes into RAM, ACPI tables included. Errors say what does not fit and what would.
Result<> load_linux(GuestRam& ram, const LinuxBoot& boot);

// The boot CPU's registers for this kernel.
Result<> set_entry_registers(int vcpu_fd, const KernelImage& kernel);

}  // namespace floe::vmm
