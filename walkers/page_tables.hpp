// x86-64 page tables, read from outside: which guest-physical byte does a kernel-virtual address mean?
//
// The walk follows 4 or 5 levels from a root and stops at a 1 GiB, 2 MiB or 4 KiB leaf. It is bounded by the number of
// levels, so tables that point at themselves end like any others. Nothing is cached here (KernelMemory does) and nothing is
// checked against RAM: a leaf may well point outside of it, which the read of the result then reports.
//
// Entry format: Intel SDM volume 3, 4.5; present is bit 0, page size (PS) bit 7, the frame bits 51:12.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/memory.hpp"

namespace floe::walkers {

struct Translation {
  Gpa gpa;                       // of the very byte asked for
  std::uint64_t page_bytes = 0;  // 4 KiB, 2 MiB or 1 GiB: size of the leaf that maps it
  Gpa table;                     // that has the leaf
};

class PageTables {
 public:
  // `root` is the physical address of the top table; its low 12 bits (PCID, flags of a raw CR3) are ignored.
  PageTables(const Memory& memory, Gpa root, bool five_levels)
      : memory_(&memory), root_(page_floor(root.value)), five_levels_(five_levels) {}

  // Nothing when the address is not canonical, not mapped, or a table of the walk is not in RAM.
  std::optional<Translation> translate(Kva kva) const;

  // The same for a page of 4 KiB whose last table is known from a translation of a neighbour in the same 2 MiB.
  std::optional<Gpa> translate_in(Gpa last_table, Kva kva) const;

  // Why translate() gives nothing for this address, for messages: "ffff...: not present at the PMD".
  std::string explain(Kva kva) const;

  // The first page in [from, end), both of them page addresses, that is mapped; `end` when none is. What a table says is absent as a whole
  // is stepped over, so a sparse range of gigabytes costs a few thousand reads.
  Kva next_mapped(Kva from, Kva end) const;

  Gpa root() const { return root_; }
  bool five_levels() const { return five_levels_; }

 private:
  struct Walk;
  Walk walk(Kva kva) const;

  const Memory* memory_;
  Gpa root_;
  bool five_levels_;
};

}  // namespace floe::walkers
