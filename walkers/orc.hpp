// ORC: the kernel's own tables of how to find the caller's frame from any instruction (arch/x86/include/asm/orc_types.h).
//
// Two parallel arrays, sorted by address: `__start_orc_unwind_ip` holds addresses (s32, each relative to its own place),
// `__start_orc_unwind` a struct orc_entry for what begins there. A module brings its own pair. The entry's bit-fields have changed three
// times: without `signal` up to 6.2; with it (ffb1b4a41016, 6.3); and since fb799447ae29 (6.4) the end of a stack is a `type`, where
// there was a bit `end` before. BTF says which. The registers are numbered in one of two ways, which are macros, so BTF does not know: a
// table shows it itself, for at the first instruction of a C function the caller's frame is always counted from the stack pointer. Here
// there is one form for all.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/result.hpp"
#include "walkers/code_address.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct OrcEntry {
  // ORC_REG_*: what the caller's stack pointer, or the place of its rbp, is counted from. The numbers are floe's own.
  enum Register : std::uint8_t { none, prev_sp, ax, dx, di, bp, sp, r10, r13, bp_indirect, sp_indirect, unknown };
  enum class Type : std::uint8_t { undefined, end_of_stack, call, regs, regs_partial };

  std::int16_t sp_offset = 0;
  std::int16_t bp_offset = 0;
  Register sp_reg = none;
  Register bp_reg = none;
  Type type = Type::undefined;
  bool signal = false;  // the frame before was interrupted, so its address is no return address

  bool operator==(const OrcEntry&) const = default;
};

class OrcLookup {
 public:
  // Both outlive it, and it must not be used by two threads at once. Error: the kernel has no such tables, or none that make sense.
  static Result<OrcLookup> create(const Kernel& kernel, const CodeAddresses& code);

  // What applies at an instruction. Nothing where there is no table, as for BPF programs, or where it cannot be read.
  std::optional<OrcEntry> find(Kva ip) const;

 private:
  struct Bits {
    unsigned shift = 0;
    unsigned count = 0;
    unsigned of(std::uint64_t word) const { return static_cast<unsigned>(word >> shift & ((std::uint64_t{1} << count) - 1)); }
  };
  struct Format {
    std::uint64_t bytes = 0;
    Bits sp_offset, bp_offset, sp_reg, bp_reg, type;
    std::optional<Bits> signal, end;
  };
  struct Cached {
    std::uint64_t ip = 0;
    std::optional<OrcEntry> entry;
  };

  OrcLookup(const Kernel& kernel, const CodeAddresses& code) : kernel_(&kernel), code_(&code) {}
  Result<void> resolve();
  Result<void> tell_numbering();
  std::optional<std::uint64_t> search(Kva ip) const;
  OrcEntry decode(std::uint64_t word) const;

  const Kernel* kernel_;
  const CodeAddresses* code_;
  Format format_;
  std::array<OrcEntry::Register, 16> registers_{};  // by the kernel's number
  OrcTables tables_;                                // of the kernel itself
  std::array<std::pair<Kva, Kva>, 2> text_{};       // what they are for: the kernel's text and its init text
  mutable std::array<Cached, 512> cache_{};         // tasks sleep in few places
};

}  // namespace floe::walkers
