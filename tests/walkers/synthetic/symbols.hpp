// kallsyms tables made by a test, in every layout kernels have used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "walkers/symbols.hpp"

namespace floe::walkers::synthetic {

struct Symbol {
  char type = 'T';
  std::string name;
  std::uint64_t address = 0;
};

// The bytes of each table. `offsets` hold s32 or, for the absolute layout, u64 each.
struct EncodedSymbols {
  std::vector<std::uint8_t> names;
  std::vector<std::uint8_t> token_table;
  std::vector<std::uint16_t> token_index;
  std::vector<std::uint8_t> offsets;
  std::uint32_t count = 0;
  std::uint64_t relative_base = 0;
};

// As scripts/kallsyms.c writes them; the symbols in address order. `offsets_at` is where the offsets table will lie, which
// the place-relative layout depends on. Symbols below 4 GiB are per-cpu absolute ones in the base_or_percpu layout.
EncodedSymbols encode(const std::vector<Symbol>& symbols, SymbolLayout layout, std::uint64_t offsets_at);

}  // namespace floe::walkers::synthetic
