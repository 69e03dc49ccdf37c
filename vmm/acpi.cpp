#include "vmm/acpi.hpp"

#include <cstring>
#include <initializer_list>
#include <numeric>
#include <string_view>

#include "dsdt.hex"
#include "vmm/layout.hpp"

namespace floe::vmm {
namespace {

using Bytes = std::vector<std::byte>;

// A table under construction: fields are put at the offsets the ACPI specification gives.
class Table {
 public:
  Table(std::string_view signature, std::uint8_t revision, std::size_t bytes) : bytes_(bytes) {
    std::memcpy(bytes_.data(), signature.data(), 4);
    put<std::uint8_t>(8, revision);
    std::memcpy(bytes_.data() + 10, "FLOE  FLOEVMM ", 14);
    put<std::uint32_t>(24, 1);
    std::memcpy(bytes_.data() + 28, "FLOE", 4);
    put<std::uint32_t>(32, 1);
  }
  template <class T>
  void put(std::size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }
  template <class T>
  void append(T value) {
    const auto offset = bytes_.size();
    bytes_.resize(offset + sizeof value);
    put(offset, value);
  }
  void append_bytes(std::initializer_list<std::uint8_t> values) {
    for (const std::uint8_t v : values) append(v);
  }
  // Generic Address Structure: system I/O space, `bits` wide.
  void put_io_address(std::size_t offset, std::uint8_t bits, std::uint64_t port) {
    put<std::uint8_t>(offset, 1);
    put<std::uint8_t>(offset + 1, bits);
    put<std::uint8_t>(offset + 3, bits / 8 > 2 ? 3 : static_cast<std::uint8_t>(bits / 8));
    put<std::uint64_t>(offset + 4, port);
  }
  const Bytes& finish() {
    put<std::uint32_t>(4, static_cast<std::uint32_t>(bytes_.size()));
    put<std::uint8_t>(9, 0);
    put<std::uint8_t>(9, checksum(bytes_.data(), bytes_.size()));
    return bytes_;
  }
  static std::uint8_t checksum(const std::byte* data, std::size_t size) {
    std::uint8_t sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(data[i]));
    return static_cast<std::uint8_t>(-sum);
  }

 private:
  Bytes bytes_;
};

constexpr std::size_t kHeader = 36;

Bytes facs() {
  Bytes bytes(64);
  const std::uint32_t length = 64;
  std::memcpy(bytes.data(), "FACS", 4);
  std::memcpy(bytes.data() + 4, &length, sizeof length);
  bytes[32] = std::byte{1};
  return bytes;
}

Bytes fadt(std::uint64_t facs_at, std::uint64_t dsdt_at) {
  Table t("FACP", 6, 276);
  t.put<std::uint32_t>(36, static_cast<std::uint32_t>(facs_at));
  t.put<std::uint32_t>(40, static_cast<std::uint32_t>(dsdt_at));
  t.put<std::uint16_t>(46, layout::kSciIrq);
  t.put<std::uint32_t>(56, layout::kPm1Event);
  t.put<std::uint32_t>(64, layout::kPm1Control);
  t.put<std::uint8_t>(88, 4);       // PM1_EVT_LEN
  t.put<std::uint8_t>(89, 2);       // PM1_CNT_LEN
  t.put<std::uint16_t>(96, 0xfff);  // P_LVL2_LAT: no C2
  t.put<std::uint16_t>(98, 0xfff);  // P_LVL3_LAT: no C3
  t.put<std::uint8_t>(108, 0x32);   // CENTURY register of the RTC
  // IAPC_BOOT_ARCH: legacy devices, no VGA. Bit 1 (8042) stays clear: set, the kernel probes port 0x64 ten thousand times.
  t.put<std::uint16_t>(109, 1 << 0 | 1 << 2);
  // WBINVD, PROC_C1, PWR_BUTTON and SLP_BUTTON (that is: none), RESET_REG_SUP
  t.put<std::uint32_t>(112, 1u << 0 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 10);
  t.put_io_address(116, 8, layout::kResetPort);
  t.put<std::uint8_t>(128, layout::kResetValue);
  t.put<std::uint8_t>(131, 5);  // minor version
  t.put<std::uint64_t>(140, dsdt_at);
  t.put_io_address(148, 32, layout::kPm1Event);
  t.put_io_address(172, 16, layout::kPm1Control);
  return t.finish();
}

Bytes madt(unsigned cpus) {
  Table t("APIC", 4, kHeader + 8);
  t.put<std::uint32_t>(kHeader, layout::kLocalApic);
  t.put<std::uint32_t>(kHeader + 4, 1);  // PCAT_COMPAT: there are 8259s
  for (unsigned id = 0; id < cpus; ++id) t.append_bytes({0, 8, static_cast<std::uint8_t>(id), static_cast<std::uint8_t>(id), 1, 0, 0, 0});
  t.append_bytes({1, 12, 0, 0});  // IOAPIC 0, global interrupt base 0
  t.append<std::uint32_t>(layout::kIoApic);
  t.append<std::uint32_t>(0);
  t.append_bytes({2, 10, 0, layout::kSciIrq, layout::kSciIrq, 0, 0, 0, 0x0d, 0});  // SCI: level, active high
  t.append_bytes({4, 6, 0xff, 0, 0, 1});                                           // every LINT1 is NMI
  return t.finish();
}

Bytes mcfg() {
  Table t("MCFG", 1, kHeader + 8);
  t.append<std::uint64_t>(layout::kEcam);
  t.append<std::uint64_t>(0);  // segment 0, buses 0..0
  return t.finish();
}

Bytes rsdp(std::uint64_t xsdt_at) {
  Bytes bytes(36);
  std::memcpy(bytes.data(), "RSD PTR ", 8);
  std::memcpy(bytes.data() + 9, "FLOE  ", 6);
  bytes[15] = std::byte{2};
  const std::uint32_t length = 36;
  std::memcpy(bytes.data() + 20, &length, sizeof length);
  std::memcpy(bytes.data() + 24, &xsdt_at, sizeof xsdt_at);
  bytes[8] = std::byte{Table::checksum(bytes.data(), 20)};
  bytes[32] = std::byte{Table::checksum(bytes.data(), 36)};
  return bytes;
}

}  // namespace

Result<Gpa> write_acpi_tables(GuestRam& ram, unsigned cpus) {
  if (cpus == 0 || cpus > 254) return fail("ACPI tables for " + std::to_string(cpus) + " vCPUs: 1 to 254 are possible");
  std::uint64_t at = layout::kAcpi + 0x100;
  bool fits = true;
  const auto place = [&](const Bytes& table) {
    const std::uint64_t here = at;
    at = (at + table.size() + 63) & ~std::uint64_t{63};
    fits = fits && at <= layout::kAcpiEnd && ram.write(Gpa(here), table);
    return here;
  };
  const auto* aml = reinterpret_cast<const std::byte*>(dsdt_aml_code);
  const std::uint64_t dsdt_at = place(Bytes(aml, aml + sizeof dsdt_aml_code));
  const std::uint64_t facs_at = place(facs());
  const std::uint64_t tables[] = {place(fadt(facs_at, dsdt_at)), place(madt(cpus)), place(mcfg())};
  Table xsdt("XSDT", 1, kHeader);
  for (const std::uint64_t table : tables) xsdt.append(table);
  const std::uint64_t xsdt_at = place(xsdt.finish());
  if (!fits || !ram.write(Gpa(layout::kAcpi), rsdp(xsdt_at))) return fail("the guest's RAM has no room for ACPI tables below 1 MiB");
  return Gpa(layout::kAcpi);
}

}  // namespace floe::vmm
