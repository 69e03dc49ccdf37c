#include "tests/walkers/synthetic/symbols.hpp"

#include <array>
#include <cstring>
#include <string_view>

namespace floe::walkers::synthetic {
namespace {

// A few codes that names do not use stand for longer strings, one of them longer than a machine word.
constexpr std::array<std::pair<std::uint8_t, std::string_view>, 4> kTokens = {
    {{0x01, "init_"}, {0x02, "sched"}, {0x03, "__start_"}, {0x80, "a_token_longer_than_a_word"}}};

std::string_view token(unsigned code, std::array<char, 1>& own) {
  for (const auto& [number, text] : kTokens)
    if (number == code) return text;
  own[0] = static_cast<char>(code);
  return code == 0 ? std::string_view{} : std::string_view(own.data(), 1);
}

std::vector<std::uint8_t> compress(std::string_view text) {
  std::vector<std::uint8_t> codes;
  while (!text.empty()) {
    std::size_t used = 1;
    codes.push_back(static_cast<std::uint8_t>(text[0]));
    for (const auto& [number, string] : kTokens)
      if (text.starts_with(string)) {
        codes.back() = number;
        used = string.size();
      }
    text.remove_prefix(used);
  }
  return codes;
}

template <class T>
void append(std::vector<std::uint8_t>& to, T value) {
  std::array<std::uint8_t, sizeof(T)> raw;
  std::memcpy(raw.data(), &value, sizeof value);
  to.insert(to.end(), raw.begin(), raw.end());
}

}  // namespace

EncodedSymbols encode(const std::vector<Symbol>& symbols, SymbolLayout layout, std::uint64_t offsets_at) {
  EncodedSymbols out;
  out.count = static_cast<std::uint32_t>(symbols.size());
  for (const auto& symbol : symbols)
    if (out.relative_base == 0 && symbol.address >> 32 != 0) out.relative_base = symbol.address;

  for (unsigned code = 0; code < 256; ++code) {
    std::array<char, 1> own;
    out.token_index.push_back(static_cast<std::uint16_t>(out.token_table.size()));
    for (const char c : token(code, own)) out.token_table.push_back(static_cast<std::uint8_t>(c));
    out.token_table.push_back(0);
  }

  for (const auto& symbol : symbols) {
    const auto codes = compress(symbol.type + symbol.name);
    if (codes.size() < 0x80) {
      out.names.push_back(static_cast<std::uint8_t>(codes.size()));
    } else {
      out.names.push_back(static_cast<std::uint8_t>((codes.size() & 0x7f) | 0x80));
      out.names.push_back(static_cast<std::uint8_t>(codes.size() >> 7));
    }
    out.names.insert(out.names.end(), codes.begin(), codes.end());

    const std::uint64_t place = offsets_at + out.offsets.size();
    switch (layout) {
      case SymbolLayout::absolute:
        append(out.offsets, symbol.address);
        break;
      case SymbolLayout::base_relative:
        append(out.offsets, static_cast<std::uint32_t>(symbol.address - out.relative_base));
        break;
      case SymbolLayout::place_relative:
        append(out.offsets, static_cast<std::uint32_t>(symbol.address - place));
        break;
      case SymbolLayout::base_or_percpu:
        append(out.offsets,
               static_cast<std::uint32_t>(symbol.address >> 32 == 0 ? symbol.address : out.relative_base - 1 - symbol.address));
        break;
    }
  }
  return out;
}

}  // namespace floe::walkers::synthetic
