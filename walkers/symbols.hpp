// Every symbol of the guest's kernel, from the kallsyms tables in its own memory: names to addresses and back.
//
// The tables are found through VMCOREINFO (kernel commit 5fd8fea935a1 put them there). Names are compressed by a table of
// 256 tokens and carry a length of one byte, or two (ULEB128) since 73bbb94466fd, 6.1. Addresses come in four layouts:
//
//   absolute           kallsyms_addresses[i]                                  !KALLSYMS_BASE_RELATIVE, gone with 64e166099b69 (6.11)
//   base_or_percpu     offset >= 0 ? offset : relative_base - 1 - offset      KALLSYMS_ABSOLUTE_PERCPU, x86-64 SMP up to 6.14
//   base_relative      relative_base + (u32)offset                            2213e9a66bb8; the only one since 01157ddc58dc (6.15)
//   place_relative     &kallsyms_offsets[i] + (s32)offset                     "kallsyms: Get rid of kallsyms relative base" (7.x)
//
// Which one a kernel uses is not written anywhere; it is the one under which known symbols come out where VMCOREINFO says
// they are. Addresses are those of the running kernel (KASLR included). Per-cpu symbols: see Kernel::per_cpu().
//
// Limits: 1 M symbols (a Debian kernel has 190,000), 512 bytes a name (KSYM_NAME_LEN), 64 MiB of names in all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/kernel_memory.hpp"

namespace floe::walkers {

enum class SymbolLayout { absolute, base_or_percpu, base_relative, place_relative };
std::string_view to_string(SymbolLayout layout);

// Where the tables are. One of `offsets` and `addresses` is needed.
struct SymbolTables {
  Kva num_syms;
  Kva names;
  Kva token_table;
  Kva token_index;
  std::optional<Kva> offsets;
  std::optional<Kva> relative_base;
  std::optional<Kva> addresses;

  bool operator==(const SymbolTables&) const = default;
};

struct KnownSymbol {
  std::string_view name;
  Kva address;
};

struct SymbolAt {
  std::string_view name;
  char type = '?';           // as nm prints it: T text, D data, ...
  std::uint64_t offset = 0;  // of the address asked for from the symbol's start
  std::uint64_t size = 0;    // up to the next symbol at another address; 0 for the last one
};

class Symbols {
 public:
  static constexpr std::uint32_t kMaxSymbols = 1'000'000;
  static constexpr std::size_t kMaxName = 512;
  static constexpr std::size_t kMaxNameBytes = std::size_t{64} << 20;

  // Decodes the tables and settles the layout by `known`, of which at least one must be among the symbols and all that are
  // must agree. Errors: a table is unreadable or malformed (says where), or no layout fits.
  static Result<Symbols> decode(const KernelMemory& memory, const SymbolTables& tables, std::span<const KnownSymbol> known);

  // The first symbol of that name in address order, as the kernel's own lookup gives it.
  std::optional<Kva> find(std::string_view name) const;

  // All of them: static functions of different files share names.
  std::vector<Kva> find_all(std::string_view name) const;

  // The symbol an address lies in: the first of those with the highest address not above it. Nothing below the first symbol,
  // above the last, or more than 64 MiB into one (that is a gap, not a symbol).
  std::optional<SymbolAt> at(Kva address) const;

  std::size_t size() const { return addresses_.size(); }
  SymbolLayout layout() const { return layout_; }
  std::string_view name(std::size_t index) const;
  char type(std::size_t index) const;
  Kva address(std::size_t index) const { return Kva(addresses_[index]); }

 private:
  Symbols() = default;
  Result<void> decode_names(const KernelMemory& memory, const SymbolTables& tables, std::uint32_t count);
  void index_names();
  void index_addresses();
  template <class Visit>
  void each_of(std::string_view name, Visit visit) const;
  std::optional<std::uint32_t> find_index(std::string_view name) const;

  static constexpr unsigned kBucketBits = 15;  // 6 symbols a bucket; the bucket starts stay in the L2 cache while building

  SymbolLayout layout_ = SymbolLayout::absolute;
  std::vector<char> names_;            // type letter and name of each symbol, back to back
  std::vector<std::uint32_t> starts_;  // size() + 1 offsets into names_
  std::vector<std::uint64_t> addresses_;
  std::vector<std::uint32_t> by_address_;  // indices in address order; empty when they already are
  std::vector<std::uint32_t> hashes_;      // of each name
  std::vector<std::uint32_t> by_hash_;     // indices in the order of the upper bits of their hash
  std::vector<std::uint32_t> buckets_;     // where in by_hash_ each value of those bits begins
};

}  // namespace floe::walkers
