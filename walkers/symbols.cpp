#include "walkers/symbols.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "walkers/name_hash.hpp"

namespace floe::walkers {
namespace {

constexpr std::uint64_t kLongestSymbol = std::uint64_t{64} << 20;

// The names have no length of their own: they are read as far as the symbols go, in chunks.
class ByteStream {
 public:
  ByteStream(const KernelMemory& memory, Kva start) : memory_(memory), next_(start), buffer_(kChunk) {}

  // What comes next: `bytes` bytes, or fewer where memory ends. Valid until the next call.
  std::span<const std::uint8_t> peek(std::size_t bytes) {
    if (end_ - begin_ < bytes) refill();
    return {buffer_.data() + begin_, std::min(bytes, end_ - begin_)};
  }
  void advance(std::size_t bytes) { begin_ += bytes; }

  // The first byte that could not be read, once peek() has come back short.
  Kva end() const { return next_; }

 private:
  static constexpr std::size_t kChunk = 64 << 10;

  void refill() {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    const std::size_t got = memory_.read(next_, std::as_writable_bytes(std::span(buffer_).subspan(end_)));
    next_ = next_ + got;
    end_ += got;
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
  symbols.index_names();

  std::string mismatch = "none of the symbols VMCOREINFO names is among them";
  for (const SymbolLayout layout : layouts) {
    std::size_t agreed = 0;
    bool fits = true;
    for (const auto& symbol : known) {
      const auto index = symbols.find_index(symbol.name);
      if (!index) continue;
      const std::uint64_t address = layout == SymbolLayout::absolute
                                        ? symbols.addresses_[*index]
                                        : address_under(layout, offsets[*index], *index, *tables.offsets, base);
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
    const auto ahead = stream.peek(2 + kMaxName);
    const bool two_bytes = !ahead.empty() && (ahead[0] & 0x80) != 0;
    const std::size_t prefix = two_bytes ? 2 : 1;
    if (ahead.size() < prefix) return memory.unreadable(stream.end(), 1, fmt::format("kallsyms name {} of {}", i, count));
    const std::size_t length = two_bytes ? (ahead[0] & 0x7f) | (std::size_t{ahead[1]} << 7) : ahead[0];
    if (length == 0 || length > kMaxName) return broken(fmt::format("claims {} bytes", length));
    if (ahead.size() - prefix < length) return memory.unreadable(stream.end(), 1, fmt::format("kallsyms name {} of {}", i, count));
    const auto codes = ahead.subspan(prefix, length);
    stream.advance(prefix + length);

    // Room for the longest legal name and the overhang of a word-wise copy.
    if (names_.size() - used < kMaxName + Tokens::kPadding) {
      if (used > kMaxNameBytes) return broken("names exceed 64 MiB");
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

// A counting sort: cheaper to build than a hash table, keeps symbols of one name in order, and stays linear whatever names a
// guest makes up.
void Symbols::index_names() {
  // In a pass of its own: hashing a name right after it was pieced together waits for the stores that did so.
  hashes_.resize(starts_.size() - 1);
  for (std::size_t i = 0; i < hashes_.size(); ++i) hashes_[i] = hash_name(name(i));

  buckets_.assign((std::size_t{1} << kBucketBits) + 1, 0);
  for (const std::uint32_t hash : hashes_) ++buckets_[(hash >> (32 - kBucketBits)) + 1];
  std::partial_sum(buckets_.begin(), buckets_.end(), buckets_.begin());
  by_hash_.resize(hashes_.size());
  auto next = buckets_;
  for (std::uint32_t i = 0; i < hashes_.size(); ++i) by_hash_[next[hashes_[i] >> (32 - kBucketBits)]++] = i;
}

// Calls visit(index) for each symbol of this name in order, until it returns false.
template <class Visit>
void Symbols::each_of(std::string_view wanted, Visit visit) const {
  const std::uint32_t hash = hash_name(wanted);
  const std::size_t bucket = hash >> (32 - kBucketBits);
  for (std::uint32_t rank = buckets_[bucket]; rank < buckets_[bucket + 1]; ++rank) {
    const std::uint32_t index = by_hash_[rank];
    if (hashes_[index] == hash && name(index) == wanted && !visit(index)) return;
  }
}

void Symbols::index_addresses() {
  if (std::is_sorted(addresses_.begin(), addresses_.end())) return;
  by_address_.resize(addresses_.size());
  std::iota(by_address_.begin(), by_address_.end(), 0u);
  // By index where addresses are equal. (std::stable_sort is deprecated inside libstdc++ 12 as clang-19 sees it.)
  const auto key = [this](std::uint32_t index) { return std::pair(addresses_[index], index); };
  std::sort(by_address_.begin(), by_address_.end(), [&](auto a, auto b) { return key(a) < key(b); });
}

std::optional<std::uint32_t> Symbols::find_index(std::string_view wanted) const {
  std::optional<std::uint32_t> found;
  each_of(wanted, [&](std::uint32_t index) {
    found = index;
    return false;
  });
  return found;
}

std::optional<Kva> Symbols::find(std::string_view wanted) const {
  const auto index = find_index(wanted);
  if (!index) return std::nullopt;
  return Kva(addresses_[*index]);
}

std::vector<Kva> Symbols::find_all(std::string_view wanted) const {
  std::vector<Kva> found;
  each_of(wanted, [&](std::uint32_t index) {
    found.emplace_back(addresses_[index]);
    return true;
  });
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
  return SymbolAt{name(index), type(index), address.value - start, last ? 0 : value_at(low) - start};
}

std::string_view Symbols::name(std::size_t index) const {
  return std::string_view(names_.data() + starts_[index] + 1, starts_[index + 1] - starts_[index] - 1);
}

char Symbols::type(std::size_t index) const {
  return names_[starts_[index]];
}

}  // namespace floe::walkers
