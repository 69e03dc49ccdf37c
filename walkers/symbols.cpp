#include "walkers/symbols.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

namespace floe::walkers {
namespace {

constexpr std::uint64_t kLongestSymbol = std::uint64_t{64} << 20;

// The names have no length of their own: they are read as far as the symbols go, in chunks.
class ByteStream {
 public:
  ByteStream(const KernelMemory& memory, Kva start) : memory_(memory), next_(start), buffer_(kChunk) {}

  // `bytes` bytes from the stream, valid until the next call; empty when they are not all readable.
  std::span<const std::uint8_t> take(std::size_t bytes) {
    if (end_ - begin_ < bytes && !refill(bytes)) return {};
    const std::span<const std::uint8_t> taken(buffer_.data() + begin_, bytes);
    begin_ += bytes;
    return taken;
  }

  Kva position() const { return next_ - (end_ - begin_); }

 private:
  static constexpr std::size_t kChunk = 64 << 10;

  bool refill(std::size_t bytes) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    const std::size_t got = memory_.read(next_, std::as_writable_bytes(std::span(buffer_).subspan(end_)));
    next_ = next_ + got;
    end_ += got;
    return end_ >= bytes;
  }

  const KernelMemory& memory_;
  Kva next_;
  std::vector<std::uint8_t> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// The 256 tokens, each within `text`.
struct Tokens {
  std::vector<char> text;  // with kPadding readable bytes behind, so that short tokens are copied as one word
  std::array<std::uint32_t, 256> start{};
  std::array<std::uint32_t, 256> length{};
  static constexpr std::size_t kPadding = 16;
};

Result<Tokens> read_tokens(const KernelMemory& memory, const SymbolTables& tables) {
  std::array<std::uint16_t, 256> index{};
  if (!memory.read_all(tables.token_index, std::as_writable_bytes(std::span(index))))
    return memory.unreadable(tables.token_index, sizeof index, "kallsyms_token_index");
  Tokens tokens;
  tokens.text.resize(std::size_t{*std::max_element(index.begin(), index.end())} + Symbols::kMaxName);
  tokens.text.resize(memory.read(tables.token_table, std::as_writable_bytes(std::span(tokens.text))));
  for (std::size_t i = 0; i < index.size(); ++i) {
    if (index[i] >= tokens.text.size()) return memory.unreadable(tables.token_table, index[i] + std::size_t{1}, "kallsyms_token_table");
    const auto begin = tokens.text.begin() + index[i];
    const auto end = std::find(begin, tokens.text.end(), '\0');
    if (end == tokens.text.end()) return fail(fmt::format("kallsyms token {} does not end", i));
    tokens.start[i] = index[i];
    tokens.length[i] = static_cast<std::uint32_t>(end - begin);
  }
  tokens.text.resize(tokens.text.size() + Tokens::kPadding);
  return tokens;
}

// 64-bit multiply-and-fold over 8-byte words.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = name.size() * 0x9e3779b97f4a7c15u;
  const char* at = name.data();
  std::size_t left = name.size();
  const auto mix = [&](std::uint64_t word) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  };
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  std::uint64_t word = 0;
  if (left > 0) std::memcpy(&word, at, left);
  mix(word);
  mix(0);
  return hash;
}

std::uint64_t address_under(SymbolLayout layout, std::int32_t offset, std::size_t index, Kva offsets, std::uint64_t base) {
  const auto wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(offset));
  switch (layout) {
    case SymbolLayout::base_or_percpu:
      return offset >= 0 ? wide : base - 1 - wide;
    case SymbolLayout::base_relative:
      return base + static_cast<std::uint32_t>(offset);
    case SymbolLayout::place_relative:
      return offsets.value + 4 * index + wide;
    case SymbolLayout::absolute:
      break;
  }
  return wide;
}

}  // namespace

std::string_view to_string(SymbolLayout layout) {
  switch (layout) {
    case SymbolLayout::absolute:
      return "absolute";
    case SymbolLayout::base_or_percpu:
      return "base-relative, per-cpu absolute";
    case SymbolLayout::base_relative:
      return "base-relative";
    case SymbolLayout::place_relative:
      return "place-relative";
  }
  return "?";
}

Result<Symbols> Symbols::decode(const KernelMemory& memory, const SymbolTables& tables, std::span<const KnownSymbol> known) {
  const auto count = memory.load<std::uint32_t>(tables.num_syms, "kallsyms_num_syms");
  if (!count) return fail(count.error());
  if (*count == 0 || *count > kMaxSymbols) return fail(fmt::format("kallsyms_num_syms is {}, expected 1 to {}", *count, kMaxSymbols));

  // The addresses first: they are what a wrong num_syms fails on cheapest.
  std::vector<std::int32_t> offsets;
  std::uint64_t base = 0;
  std::vector<SymbolLayout> layouts;
  Symbols symbols;
  if (tables.offsets) {
    offsets.resize(*count);
    const auto bytes = std::as_writable_bytes(std::span(offsets));
    if (!memory.read_all(*tables.offsets, bytes)) return memory.unreadable(*tables.offsets, bytes.size(), "kallsyms_offsets");
    if (tables.relative_base) {
      const auto read_base = memory.load<std::uint64_t>(*tables.relative_base, "kallsyms_relative_base");
      if (!read_base) return fail(read_base.error());
      base = *read_base;
      layouts = {SymbolLayout::base_or_percpu, SymbolLayout::base_relative};
    } else {
      layouts = {SymbolLayout::place_relative};
    }
  } else if (tables.addresses) {
    symbols.addresses_.resize(*count);
    const auto bytes = std::as_writable_bytes(std::span(symbols.addresses_));
    if (!memory.read_all(*tables.addresses, bytes)) return memory.unreadable(*tables.addresses, bytes.size(), "kallsyms_addresses");
    layouts = {SymbolLayout::absolute};
  } else {
    return fail("VMCOREINFO gives neither kallsyms_offsets nor kallsyms_addresses");
  }

  if (auto decoded = symbols.decode_names(memory, tables, *count); !decoded) return fail(decoded.error());
  if (auto indexed = symbols.index_names(); !indexed) return fail(indexed.error());

  std::string mismatch = "none of the symbols VMCOREINFO names is among them";
  for (const SymbolLayout layout : layouts) {
    std::size_t agreed = 0;
    bool fits = true;
    for (const auto& symbol : known) {
      const std::uint32_t index = symbols.find_index(symbol.name);
      if (index == *count) continue;
      const std::uint64_t address = layout == SymbolLayout::absolute ? symbols.addresses_[index]
                                                                     : address_under(layout, offsets[index], index, *tables.offsets, base);
      if (address == symbol.address.value) {
        ++agreed;
        continue;
      }
      fits = false;
      mismatch = fmt::format("{} comes out at {:#x} ({}), VMCOREINFO has it at {:#x}", symbol.name, address, to_string(layout),
                             symbol.address.value);
    }
    if (!fits || agreed == 0) continue;
    symbols.layout_ = layout;
    if (layout != SymbolLayout::absolute) {
      symbols.addresses_.resize(*count);
      for (std::size_t i = 0; i < *count; ++i) symbols.addresses_[i] = address_under(layout, offsets[i], i, *tables.offsets, base);
    }
    symbols.index_addresses();
    return symbols;
  }
  return fail(fmt::format("{} kallsyms names decoded, but {}", *count, mismatch));
}

Result<void> Symbols::decode_names(const KernelMemory& memory, const SymbolTables& tables, std::uint32_t count) {
  const auto tokens = read_tokens(memory, tables);
  if (!tokens) return fail(tokens.error());

  ByteStream stream(memory, tables.names);
  starts_.reserve(count + std::size_t{1});
  names_.resize(std::min<std::size_t>(std::size_t{32} * count, kMaxNameBytes));  // an average name has 22 characters
  const char* text = tokens->text.data();
  std::size_t used = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto broken = [&](std::string_view why) { return fail(fmt::format("kallsyms name {} of {}: {}", i, count, why)); };
    const auto unreadable = [&] { return memory.unreadable(stream.position(), kMaxName, fmt::format("kallsyms name {} of {}", i, count)); };
    const auto first = stream.take(1);
    if (first.empty()) return unreadable();
    std::size_t length = first[0];
    if (length & 0x80) {
      const auto second = stream.take(1);
      if (second.empty()) return unreadable();
      length = (length & 0x7f) | (std::size_t{second[0]} << 7);
    }
    if (length == 0 || length > kMaxName) return broken(fmt::format("claims {} bytes", length));
    const auto codes = stream.take(length);
    if (codes.empty()) return unreadable();

    // Room for the longest legal name and the overhang of a word-wise copy.
    if (names_.size() - used < kMaxName + Tokens::kPadding) {
      if (used > kMaxNameBytes) return broken("names exceed 128 MiB");
      names_.resize(names_.size() * 2 + 2 * kMaxName);
    }
    starts_.push_back(static_cast<std::uint32_t>(used));
    const std::size_t limit = used + kMaxName;
    for (const std::uint8_t code : codes) {
      const std::uint32_t bytes = tokens->length[code];
      if (used + bytes > limit) return broken("longer than 512 characters");
      const char* token = text + tokens->start[code];
      // Nearly all tokens are shorter than a word: copy a fixed 8 bytes and advance by the real length.
      std::memcpy(names_.data() + used, token, 8);
      if (bytes > 8) std::memcpy(names_.data() + used, token, bytes);
      used += bytes;
    }
    if (used == starts_.back()) return broken("is empty");
  }
  starts_.push_back(static_cast<std::uint32_t>(used));
  names_.resize(used);
  return {};
}

Result<void> Symbols::index_names() {
  const std::size_t count = starts_.size() - 1;
  // Names chosen to collide would make this quadratic; real ones need 1.3 probes each.
  std::size_t probes_left = 32 * count;
  buckets_.assign(std::bit_ceil(2 * count), 0);
  const std::size_t mask = buckets_.size() - 1;
  for (std::size_t i = 0; i < count; ++i) {
    const auto own = name(i);
    std::size_t slot = hash_name(own) & mask;
    for (; buckets_[slot] != 0 && name(buckets_[slot] - 1) != own; slot = (slot + 1) & mask)
      if (probes_left-- == 0) return fail("kallsyms names were made to collide in the index");
    if (buckets_[slot] == 0) buckets_[slot] = static_cast<std::uint32_t>(i + 1);
  }
  return {};
}

void Symbols::index_addresses() {
  if (std::is_sorted(addresses_.begin(), addresses_.end())) return;
  by_address_.resize(addresses_.size());
  std::iota(by_address_.begin(), by_address_.end(), 0u);
  // By index where addresses are equal. (std::stable_sort is deprecated inside libstdc++ 12 as clang-19 sees it.)
  const auto key = [this](std::uint32_t index) { return std::pair(addresses_[index], index); };
  std::sort(by_address_.begin(), by_address_.end(), [&](auto a, auto b) { return key(a) < key(b); });
}

std::uint32_t Symbols::find_index(std::string_view wanted) const {
  const auto none = static_cast<std::uint32_t>(starts_.size() - 1);
  const std::size_t mask = buckets_.size() - 1;
  std::size_t slot = hash_name(wanted) & mask;
  while (buckets_[slot] != 0) {
    if (name(buckets_[slot] - 1) == wanted) return buckets_[slot] - 1;
    slot = (slot + 1) & mask;
  }
  return none;
}

std::optional<Kva> Symbols::find(std::string_view wanted) const {
  const std::uint32_t index = find_index(wanted);
  if (index == addresses_.size()) return std::nullopt;
  return Kva(addresses_[index]);
}

std::vector<Kva> Symbols::find_all(std::string_view wanted) const {
  std::vector<Kva> found;
  for (std::size_t i = find_index(wanted); i < addresses_.size(); ++i)
    if (name(i) == wanted) found.emplace_back(addresses_[i]);
  return found;
}

std::optional<SymbolAt> Symbols::at(Kva address) const {
  const auto value_at = [this](std::size_t rank) { return addresses_[by_address_.empty() ? rank : by_address_[rank]]; };
  std::size_t low = 0;
  std::size_t high = addresses_.size();
  while (low < high) {  // first rank above the address
    const std::size_t middle = low + (high - low) / 2;
    if (value_at(middle) <= address.value)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return std::nullopt;
  std::size_t rank = low - 1;
  const std::uint64_t start = value_at(rank);
  const bool last = low == addresses_.size();
  if (last ? start != address.value : address.value - start > kLongestSymbol) return std::nullopt;
  while (rank > 0 && value_at(rank - 1) == start) --rank;
  const std::size_t index = by_address_.empty() ? rank : by_address_[rank];
  return SymbolAt{name(index), type(index), address.value - start};
}

std::string_view Symbols::name(std::size_t index) const {
  return std::string_view(names_.data() + starts_[index] + 1, starts_[index + 1] - starts_[index] - 1);
}

char Symbols::type(std::size_t index) const {
  return names_[starts_[index]];
}

}  // namespace floe::walkers
