// A kernel at one instant, ready to be walked: opened from nothing but RAM.
//
// Kernel::open() finds VMCOREINFO, and through it the page tables, the symbols and the types, and then proves the whole chain
// on facts it already knows: the image is mapped where VMCOREINFO says, `init_task` is called "swapper/0", `init_uts_ns` has
// the release of VMCOREINFO. A candidate that fails is passed over for the next; when all fail, the error tells for each what
// failed. No agent, no symbol file, no version number: what a kernel looks like is asked of its BTF and its symbols.
//
// Symbols and types do not change during a boot, so a Kernel shares them: opening the next snapshot with the previous Kernel
// in the options costs a few reads instead of tens of milliseconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/memory.hpp"
#include "walkers/symbols.hpp"
#include "walkers/types.hpp"
#include "walkers/vmcoreinfo.hpp"

namespace floe::walkers {

class Kernel;

struct OpenOptions {
  // A Kernel opened earlier from the same guest. Its tables are taken over when BUILD-ID, KERNELOFFSET and the places of the
  // tables agree; otherwise it is ignored.
  const Kernel* previous = nullptr;

  // CR3 of a vCPU, raw. RAM that survived a reboot may hold two kernels that both prove themselves; with this only the one
  // that vCPU runs is taken.
  std::optional<std::uint64_t> cr3;

  // No further candidate is tried after this instant.
  std::optional<WalkBudget::Clock::time_point> deadline;

  // The note that a core file carries. Tried before RAM is scanned for one; RAM is scanned all the same when it does not hold.
  const VmCoreInfo* vmcoreinfo = nullptr;
};

// How long each step of an open took. Steps that were skipped are zero.
struct OpenTimes {
  using Duration = std::chrono::microseconds;
  Duration scan{};      // finding VMCOREINFO
  Duration symbols{};   // decoding and indexing kallsyms
  Duration types{};     // copying, parsing and indexing BTF
  Duration validate{};  // proving the chain
  Duration total{};
  bool tables_reused = false;
};

class Kernel {
 public:
  // Reads through `memory`, which has to outlive the Kernel and stay as it is: a frozen guest or a snapshot. (A live one works
  // mostly; what it yields is as torn as the guest was busy.)
  static Result<Kernel> open(const Memory& memory, const OpenOptions& options = {});
  static Result<Kernel> open(const Memory& memory, const Kernel& previous) {
    return open(memory, OpenOptions{&previous, std::nullopt, std::nullopt, nullptr});
  }

  // A kernel whose bytes come by virtual address, without page tables: a core that has no physical addresses. Its note cannot be scanned
  // for, so it is given. Of the options `previous` counts.
  static Result<Kernel> open(const KernelMemory& memory, VmCoreInfo info, const OpenOptions& options = {});

  // The same kernel at another instant, through another memory of the same guest that outlives it: nothing is proven again. Nothing where
  // bytes come by virtual address.
  std::optional<Kernel> over(const Memory& memory) const;

  const VmCoreInfo& info() const { return info_; }
  const Symbols& symbols() const { return tables_->symbols; }
  const Types& types() const { return tables_->types; }
  std::shared_ptr<const Types> shared_types() const { return {tables_, &tables_->types}; }  // for what may outlive the Kernel

  // Caches translations, so it must not be read by two threads at once; a copy of the Kernel has its own and shares the rest.
  const KernelMemory& memory() const { return paged_ ? *paged_ : *direct_; }

  // The same with its page tables and the physical memory below them; null where bytes come by virtual address.
  const PagedMemory* paged() const { return paged_ ? &*paged_ : nullptr; }

  // The address of a symbol. Error: the kernel has none of that name.
  Result<Kva> symbol(std::string_view name) const;

  // Where a per-cpu variable lives on a CPU: its symbol plus __per_cpu_offset[cpu]. The same sum holds for kernels whose
  // per-cpu symbols are offsets from zero (x86-64 up to 6.14) and for those where they are addresses (9d7de2aa8b41).
  // Error: no such symbol, or a CPU the kernel does not have.
  Result<Kva> per_cpu(std::string_view symbol, std::uint32_t cpu) const;

  // One more than the highest CPU number the kernel can have (nr_cpu_ids), at most 8192.
  Result<std::uint32_t> cpu_count() const;

  // The numbers of the CPUs it can have (cpu_possible_mask; all below cpu_count() in kernels without that symbol). Only these
  // have per-cpu variables.
  Result<std::vector<std::uint32_t>> possible_cpus() const;

  const OpenTimes& times() const { return times_; }

  // Candidates that were passed over before this one, each with its reason.
  const std::vector<std::string>& rejected() const { return rejected_; }

 private:
  struct Tables {
    SymbolTables places;
    Symbols symbols;
    Types types;
  };

  explicit Kernel(VmCoreInfo info) : info_(std::move(info)) {}
  Result<void> load(const OpenOptions& options, OpenTimes times, int& decoded);
  static Result<Kernel> try_candidate(const Memory& memory, VmCoreInfo info, const OpenOptions& options, OpenTimes times, int& decoded);
  static Result<std::shared_ptr<const Tables>> read_tables(const VmCoreInfo& info, const KernelMemory& memory, OpenTimes& times);
  Result<void> validate() const;

  VmCoreInfo info_;
  std::optional<PagedMemory> paged_;      // one of the two
  const KernelMemory* direct_ = nullptr;  // keeps no cache, so copies may share it
  std::shared_ptr<const Tables> tables_;
  OpenTimes times_;
  std::vector<std::string> rejected_;
};

}  // namespace floe::walkers
