// Where everything sits in guest-physical space and port space. One place, so that the loader, the ACPI tables and the devices
// cannot disagree.
#pragma once

#include <cstdint>

namespace floe::vmm::layout {

// Boot structures in low RAM.
inline constexpr std::uint64_t kGdt = 0x500;
inline constexpr std::uint64_t kStartInfo = 0x6000;  // PVH hvm_start_info
inline constexpr std::uint64_t kZeroPage = 0x7000;   // Linux boot_params
inline constexpr std::uint64_t kBootStack = 0x8ff0;
inline constexpr std::uint64_t kPageTables = 0x9000;  // PML4, PDPT, 4 page directories
inline constexpr std::uint64_t kCommandLine = 0x20000;
inline constexpr std::uint64_t kLowRamEnd = 0x9fc00;  // where the EBDA would start
inline constexpr std::uint64_t kAcpi = 0xe0000;       // RSDP; the kernel scans here too
inline constexpr std::uint64_t kAcpiEnd = 0x100000;
inline constexpr std::uint64_t kHighRam = 0x100000;  // 1 MiB

// The hole below 4 GiB.
inline constexpr std::uint64_t kEcam = 0xd000'0000;
inline constexpr std::uint64_t kEcamBytes = 0x10'0000;  // bus 0
inline constexpr std::uint64_t kPciWindow = 0xe000'0000;
inline constexpr std::uint64_t kPciWindowBytes = 0x1000'0000;
inline constexpr std::uint64_t kIoApic = 0xfec0'0000;
inline constexpr std::uint64_t kLocalApic = 0xfee0'0000;
inline constexpr std::uint64_t kIdentityMap = 0xfffb'c000;  // one page, for VMX without unrestricted guest
inline constexpr std::uint64_t kTss = 0xfffb'd000;          // three pages, likewise

// Ports.
inline constexpr std::uint16_t kRtcPort = 0x70;
inline constexpr std::uint16_t kKeyboardPort = 0x64;
inline constexpr std::uint16_t kSerialPort = 0x3f8;
inline constexpr unsigned kSerialIrq = 4;
inline constexpr std::uint16_t kPvpanicPort = 0x505;
inline constexpr std::uint16_t kPm1Event = 0x600;    // PM1a_STS u16, PM1a_EN u16
inline constexpr std::uint16_t kPm1Control = 0x604;  // u16
inline constexpr std::uint16_t kResetPort = 0x612;
inline constexpr std::uint8_t kResetValue = 1;
inline constexpr unsigned kSciIrq = 9;
inline constexpr std::uint16_t kPciConfigPort = 0xcf8;

}  // namespace floe::vmm::layout
