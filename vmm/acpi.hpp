// The ACPI tables a stock kernel needs to find its CPUs, its PCI host and its power button: RSDP, XSDT, FADT (full, with the PM1a
// block), FACS, MADT, MCFG and the DSDT compiled from dsdt.asl.
#pragma once

#include "vmm/ram.hpp"

namespace floe::vmm {

// Writes the tables at layout::kAcpi for `cpus` vCPUs with APIC ids 0..cpus-1. Returns the RSDP's address.
// Errors: RAM too small, or more vCPUs than the area holds.
Result<Gpa> write_acpi_tables(GuestRam& ram, unsigned cpus);

}  // namespace floe::vmm
