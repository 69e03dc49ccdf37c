// Code addresses by name: "do_nanosleep+0x6a/0x1a0", as the kernel prints them (%pS and %pB, kernel/kallsyms.c).
//
// A kernel has code in three places. Its own text is in kallsyms. A module's is in the module's memory (`modules`, struct module.mem since
// ac3b43283923, 6.4, .core_layout before), its names in module.kallsyms: "nft_do_chain+0x12/0x5f0 [nf_tables]". What was compiled while
// it runs, BPF programs, trampolines and dispatchers, stands on the list `bpf_kallsyms` as struct bpf_ksym (bfea9a8574f3, 5.7):
// "bpf_prog_6deef7357e7b4530_dispatch+0x3c/0x90 [bpf]".
//
// The two lists are read once, when the object is made, a module's symbols when an address is first found in it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct CodeLocation {
  std::string symbol;
  std::uint64_t offset = 0;  // of the address in it
  std::uint64_t size = 0;    // of the function: up to the next one; 0 when unknown
  std::string owner;         // a module's name, or "bpf"; empty for the kernel's own

  std::string text() const;  // "symbol+0x1/0x20 [owner]"
  bool operator==(const CodeLocation&) const = default;
};

// The unwinding tables of a module (struct mod_arch_specific), kernel/module.
struct OrcTables {
  Kva ips;      // s32 each, relative to itself, ascending
  Kva entries;  // struct orc_entry each
  std::uint64_t count = 0;
};

class CodeAddresses {
 public:
  static constexpr std::size_t kMaxModules = 4096;
  static constexpr std::size_t kMaxBpfSymbols = 16'384;
  static constexpr std::size_t kMaxModuleSymbols = 65'536;  // of one module

  // Reads through `kernel`, which outlives it. Like the kernel's memory it must not be used by two threads at once.
  explicit CodeAddresses(const Kernel& kernel, WalkBudget budget = WalkBudget(kMaxModules + kMaxBpfSymbols));

  // The function an address lies in. Error: what the address is instead.
  Result<CodeLocation> find(Kva address) const;

  // The same for a return address, which lies behind its call: after a call that never returns, in the next function. `offset` is
  // still that of the address itself.
  Result<CodeLocation> find_return(Kva address) const;

  // Of find(), or the bare address in hexadecimal.
  std::string text(Kva address) const;

  bool in_bpf(Kva address) const { return bpf_at(address) != nullptr; }

  // Unwinding tables of the module an address lies in; nothing outside of modules, or for one without.
  std::optional<OrcTables> module_orc(Kva address) const;

  std::size_t modules() const { return modules_.size(); }
  std::size_t bpf_symbols() const { return bpf_.size(); }

  // Why a list could not be read to its end.
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  struct Range {
    std::uint64_t start = 0;
    std::uint64_t end = 0;  // one past
    bool holds(Kva address) const { return start <= address.value && address.value < end; }
  };
  struct Module {
    std::string name;
    std::vector<Range> text;
    Kva kallsyms;  // null: none
    OrcTables orc;
  };
  struct BpfSymbol {
    Range range;
    std::string name;
  };
  struct ModuleSymbol {
    std::uint64_t start = 0;
    std::uint32_t name = 0;   // its place in the module's string table
    std::uint32_t index = 0;  // in its symbol table
  };
  struct ModuleSymbols {
    std::vector<ModuleSymbol> symbols;  // ascending
    Kva strings;
  };

  template <class Visit>
  void follow(Kva head, std::string_view list, WalkBudget& budget, std::size_t most, const Visit& visit);
  void read_modules(WalkBudget& budget);
  void read_bpf(WalkBudget& budget);
  const Module* module_at(Kva address) const;
  const BpfSymbol* bpf_at(Kva address) const;
  const ModuleSymbols& symbols_of(const Module& module) const;
  Result<CodeLocation> find_in_module(const Module& module, Kva address) const;

  const Kernel& kernel_;
  std::vector<Module> modules_;
  std::vector<BpfSymbol> bpf_;  // by start
  std::vector<std::string> problems_;
  mutable std::vector<std::optional<ModuleSymbols>> module_symbols_;  // as modules_; filled when asked for
};

}  // namespace floe::walkers
