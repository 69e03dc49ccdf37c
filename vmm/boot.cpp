#include "vmm/boot.hpp"

#include <array>
#include <cstring>

#include "base/file.hpp"
#include "vmm/acpi.hpp"
#include "vmm/layout.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint32_t kE820Ram = 1;
constexpr std::uint32_t kE820Reserved = 2;

struct MemoryMapEntry {
  std::uint64_t start, bytes;
  std::uint32_t type;
};

std::vector<MemoryMapEntry> memory_map(const GuestRam& ram) {
  const std::uint64_t low_end = ram.regions().front().bytes;
  std::vector<MemoryMapEntry> map = {
      {0, layout::kLowRamEnd, kE820Ram},
      {layout::kLowRamEnd, layout::kHighRam - layout::kLowRamEnd, kE820Reserved},
      {layout::kHighRam, low_end - layout::kHighRam, kE820Ram},
      {layout::kEcam, layout::kEcamBytes, kE820Reserved},
  };
  if (ram.regions().size() > 1) map.push_back({ram.regions()[1].start.value, ram.regions()[1].bytes, kE820Ram});
  return map;
}

template <class T>
void put(std::span<std::byte> page, std::size_t offset, T value) {
  std::memcpy(page.data() + offset, &value, sizeof value);
}

struct Initrd {
  std::uint64_t start = 0, bytes = 0;
};

// As high as the kernel allows below the hole, page aligned; the decompressor moves the kernel around it.
Result<Initrd> place_initrd(GuestRam& ram, const LinuxBoot& boot) {
  if (boot.initrd.empty()) return Initrd{};
  const std::uint64_t top = std::min(ram.regions().front().bytes, boot.kernel->initrd_max);
  const std::uint64_t need = page_ceil(boot.initrd.size());
  if (need > top || page_floor(top - need) < boot.kernel->memory_end) {
    const std::uint64_t least = (boot.kernel->memory_end + need + (64u << 20)) >> 20;
    return fail("the initramfs of " + std::to_string(boot.initrd.size() >> 20) + " MiB does not fit beside the kernel in " +
                std::to_string(ram.bytes() >> 20) + " MiB: use --memory " + std::to_string(least) + " or more");
  }
  const Initrd placed{page_floor(top - need), boot.initrd.size()};
  if (!ram.write(Gpa(placed.start), boot.initrd)) return fail("the initramfs does not fit into guest RAM");
  return placed;
}

Result<> load_segments(GuestRam& ram, const KernelImage& kernel) {
  if (kernel.memory_end > ram.regions().front().bytes)
    return fail(kernel.path + " needs " + std::to_string((kernel.memory_end >> 20) + 64) +
                " MiB of guest memory at least: use a larger --memory");
  for (const auto& segment : kernel.segments) {
    const auto source = std::span(kernel.bytes).subspan(segment.file_offset, segment.file_bytes);
    if (!ram.write(segment.load, source)) return fail(kernel.path + ": a segment does not fit into guest RAM");
  }
  return {};
}

// struct boot_params, offsets as in Documentation/arch/x86/zero-page.rst.
Result<> write_zero_page(GuestRam& ram, const LinuxBoot& boot, Initrd initrd, Gpa rsdp) {
  std::array<std::byte, kPageBytes> page{};
  const auto& file = boot.kernel->bytes;
  const std::size_t header_end = 0x202 + static_cast<std::size_t>(file[0x201]);
  std::memcpy(page.data() + 0x1f1, file.data() + 0x1f1, std::min<std::size_t>(header_end, 0x290) - 0x1f1);
  put<std::uint8_t>(page, 0x210, 0xff);                                                                   // type_of_loader: unregistered
  put<std::uint8_t>(page, 0x211, static_cast<std::uint8_t>(file[0x211]) | 1);                             // loadflags: LOADED_HIGH
  put<std::uint32_t>(page, 0x214, static_cast<std::uint32_t>(boot.kernel->segments.front().load.value));  // code32_start
  put<std::uint32_t>(page, 0x218, static_cast<std::uint32_t>(initrd.start));
  put<std::uint32_t>(page, 0x21c, static_cast<std::uint32_t>(initrd.bytes));
  put<std::uint32_t>(page, 0x228, layout::kCommandLine);
  put<std::uint64_t>(page, 0x070, rsdp.value);
  const auto map = memory_map(ram);
  put<std::uint8_t>(page, 0x1e8, static_cast<std::uint8_t>(map.size()));
  for (std::size_t i = 0; i < map.size(); ++i) {
    const std::size_t at = 0x2d0 + i * 20;
    put(page, at, map[i].start);
    put(page, at + 8, map[i].bytes);
    put(page, at + 16, map[i].type);
  }
  if (!ram.write(Gpa(layout::kZeroPage), page)) return fail("the zero page does not fit into guest RAM");
  return {};
}

// struct hvm_start_info (56 bytes), one module entry (32 bytes) behind it, then the memory map (24 bytes an entry).
Result<> write_start_info(GuestRam& ram, Initrd initrd, Gpa rsdp) {
  std::array<std::byte, 0x400> page{};
  constexpr std::size_t kModules = 0x40;
  constexpr std::size_t kMap = 0x80;
  const auto map = memory_map(ram);
  put<std::uint32_t>(page, 0, 0x336ec578);
  put<std::uint32_t>(page, 4, 1);  // version
  if (initrd.bytes) {
    put<std::uint32_t>(page, 12, 1);  // nr_modules
    put<std::uint64_t>(page, 16, layout::kStartInfo + kModules);
    put<std::uint64_t>(page, kModules, initrd.start);
    put<std::uint64_t>(page, kModules + 8, initrd.bytes);
  }
  put<std::uint64_t>(page, 24, layout::kCommandLine);
  put<std::uint64_t>(page, 32, rsdp.value);
  put<std::uint64_t>(page, 40, layout::kStartInfo + kMap);
  put<std::uint32_t>(page, 48, static_cast<std::uint32_t>(map.size()));
  for (std::size_t i = 0; i < map.size(); ++i) {
    put(page, kMap + i * 24, map[i].start);
    put(page, kMap + i * 24 + 8, map[i].bytes);
    put(page, kMap + i * 24 + 16, map[i].type);
  }
  if (!ram.write(Gpa(layout::kStartInfo), page)) return fail("the PVH start info does not fit into guest RAM");
  return {};
}

// Identity map of the first 4 GiB by 2 MiB pages, and the two descriptors the 64-bit boot protocol asks for.
Result<> write_long_mode_tables(GuestRam& ram) {
  std::array<std::uint64_t, 6 * 512> tables{};
  tables[0] = (layout::kPageTables + 0x1000) | 3;
  for (std::uint64_t gib = 0; gib < 4; ++gib) {
    tables[512 + gib] = (layout::kPageTables + 0x2000 + gib * 0x1000) | 3;
    for (std::uint64_t i = 0; i < 512; ++i) tables[1024 + gib * 512 + i] = (gib << 30) | (i << 21) | 0x83;
  }
  const std::array<std::uint64_t, 5> gdt = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0};
  if (!ram.write(Gpa(layout::kPageTables), std::as_bytes(std::span(tables))) ||
      !ram.write(Gpa(layout::kGdt), std::as_bytes(std::span(gdt))))
    return fail("the boot page tables do not fit into guest RAM");
  return {};
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code64, bool big) {
  kvm_segment s{};
  s.selector = selector;
  s.limit = 0xffffffff;
  s.type = type;
  s.present = 1;
  s.s = 1;
  s.l = code64;
  s.db = big;
  s.g = 1;
  return s;
}

kvm_segment task_segment(std::uint16_t selector) {
  kvm_segment s{};
  s.selector = selector;
  s.limit = 0x67;
  s.type = 11;  // busy 64-bit/32-bit TSS
  s.present = 1;
  return s;
}

}  // namespace

Result<> load_linux(GuestRam& ram, const LinuxBoot& boot) {
  if (ram.bytes() < layout::kHighRam * 2)
    return fail("a Linux guest needs more than " + std::to_string(ram.bytes() >> 20) + " MiB: use a larger --memory");
  if (boot.command_line.size() > boot.kernel->command_line_max)
    return fail("the kernel command line has " + std::to_string(boot.command_line.size()) + " bytes, this kernel takes " +
                std::to_string(boot.kernel->command_line_max) + ": shorten --append");
  const auto loaded = load_segments(ram, *boot.kernel);
  if (!loaded) return loaded;
  const auto initrd = place_initrd(ram, boot);
  if (!initrd) return fail(initrd.error());
  const auto rsdp = write_acpi_tables(ram, boot.cpus);
  if (!rsdp) return fail(rsdp.error());
  // One NUL behind the text: RAM is zero already.
  if (!boot.command_line.empty() && !ram.write(Gpa(layout::kCommandLine), as_bytes(boot.command_line)))
    return fail("the command line does not fit into guest RAM");
  if (boot.kernel->kind == KernelImage::Kind::kElfPvh) return write_start_info(ram, *initrd, *rsdp);
  const auto tables = write_long_mode_tables(ram);
  if (!tables) return tables;
  return write_zero_page(ram, boot, *initrd, *rsdp);
}

Result<> set_entry_registers(int vcpu_fd, const KernelImage& kernel) {
  kvm_sregs sregs{};
  const auto got = kvm::call(vcpu_fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
  if (!got) return fail(got.error());
  kvm_regs regs{};
  regs.rflags = 2;
  regs.rip = kernel.entry.value;
  kvm_segment data{};
  if (kernel.kind == KernelImage::Kind::kBzImage) {
    sregs.cr0 = 0x80000001;  // PG, PE
    sregs.cr3 = layout::kPageTables;
    sregs.cr4 = 0x20;    // PAE
    sregs.efer = 0x500;  // LME, LMA
    sregs.gdt.base = layout::kGdt;
    sregs.gdt.limit = 39;
    sregs.cs = segment(0x10, 11, true, false);
    data = segment(0x18, 3, false, true);
    sregs.tr = task_segment(0x20);
    regs.rsp = layout::kBootStack;
    regs.rsi = layout::kZeroPage;
  } else {
    sregs.cr0 = 1;  // PE
    sregs.cr4 = 0;
    sregs.efer = 0;
    sregs.cs = segment(0x8, 11, false, true);
    data = segment(0x10, 3, false, true);
    sregs.tr = task_segment(0x18);
    regs.rbx = layout::kStartInfo;
  }
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
  const auto set_sregs = kvm::call(vcpu_fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
  if (!set_sregs) return fail(set_sregs.error());
  const auto set_regs = kvm::call(vcpu_fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
  if (!set_regs) return fail(set_regs.error());
  return {};
}

}  // namespace floe::vmm
