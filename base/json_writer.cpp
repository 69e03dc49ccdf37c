#include "base/json_writer.hpp"

#include <array>
#include <cmath>
#include <new>

#include "base/utf8.hpp"

namespace floe {
namespace {

constexpr std::size_t kMaxDouble = 32;  // "-2.2250738585072014e-308" has 24

// Does any of these 8 bytes need more than to be copied: a control character, a quote, a backslash, or the start of a sequence?
bool needs_care(std::uint64_t word) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u;
  constexpr std::uint64_t kHigh = 0x8080808080808080u;
  const auto has_zero = [](std::uint64_t v) { return (v - kOnes) & ~v; };
  return ((word | has_zero(word ^ kOnes * '"') | has_zero(word ^ kOnes * '\\') | ((word - kOnes * 0x20) & ~word)) & kHigh) != 0;
}

// How many bytes from the start can be copied as they are.
std::size_t plain_prefix(std::string_view bytes) {
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    if (needs_care(word)) break;
  }
  for (; at < bytes.size(); ++at) {
    const auto byte = static_cast<unsigned char>(bytes[at]);
    if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\') break;
  }
  return at;
}

constexpr auto kHexDigits = [] {
  std::array<std::array<char, 3>, 256> table{};
  constexpr char digits[] = "0123456789abcdef";
  for (unsigned i = 0; i < 256; ++i) table[i] = {digits[i >> 4], digits[i & 15], ' '};
  return table;
}();

}  // namespace

void JsonWriter::grow(std::size_t more) {
  if (drain_) {
    flush();
    if (more <= room_) return;
  }
  const std::size_t room = std::max({room_ * 2, size_ + more, drain_ ? kPieceBytes : std::size_t{4096}});
  char* const moved = static_cast<char*>(std::realloc(text_.get(), room));
  if (moved == nullptr) throw std::bad_alloc();
  static_cast<void>(text_.release());  // it was moved
  text_.reset(moved);
  room_ = room;
}

std::string JsonWriter::take() && {
  std::string text(view());
  text_.reset();
  room_ = 0;
  size_ = 0;
  comma_ = false;
  return text;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  begin_value(2);
  add("\"");
  add_string(name, 2);
  add("\":");
  return end_value(false);
}

JsonWriter& JsonWriter::string(std::string_view bytes) {
  begin_value(2);
  add("\"");
  add_string(bytes, 1);
  add("\"");
  return end_value();
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  begin_value(json.size());
  add(json);
  return end_value();
}

JsonWriter& JsonWriter::number(double value) {
  if (!std::isfinite(value)) return null();
  begin_value(kMaxDouble);
  size_ = static_cast<std::size_t>(std::to_chars(text_.get() + size_, text_.get() + room_, value).ptr - text_.get());
  return end_value();
}

JsonWriter& JsonWriter::hex(std::span<const std::byte> bytes) {
  begin_value(bytes.size() * 3 + 2);
  add("\"");
  char* out = text_.get() + size_;
  for (const std::byte byte : bytes) {
    std::memcpy(out, kHexDigits[std::to_integer<unsigned>(byte)].data(), 3);
    out += 3;
  }
  if (!bytes.empty()) --out;  // the last space
  size_ = static_cast<std::size_t>(out - text_.get());
  add("\"");
  return end_value();
}

void JsonWriter::add_string(std::string_view bytes, std::size_t room_behind) {
  reserve(bytes.size() + room_behind);
  const std::size_t plain = plain_prefix(bytes);
  add(bytes.substr(0, plain));
  if (plain < bytes.size()) add_escaped(bytes.substr(plain), room_behind);
}

void JsonWriter::add_escaped(std::string_view bytes, std::size_t room_behind) {
  constexpr std::size_t kMostPerByte = 6;  // \u001f
  while (!bytes.empty()) {
    reserve(kMostPerByte + bytes.size() + room_behind);
    const auto byte = static_cast<unsigned char>(bytes.front());
    std::size_t taken = 1;
    if (byte == '"' || byte == '\\') {
      const char escape[] = {'\\', static_cast<char>(byte)};
      add({escape, 2});
    } else if (byte == '\n') {
      add("\\n");
    } else if (byte == '\t') {
      add("\\t");
    } else if (byte < 0x20) {
      add("\\u00");
      add({kHexDigits[byte].data(), 2});
    } else if (const std::size_t length = utf8_length(bytes)) {
      add(bytes.substr(0, length));
      taken = length;
    } else {
      add(kReplacementCharacter);
    }
    bytes.remove_prefix(taken);
    const std::size_t plain = plain_prefix(bytes);
    add(bytes.substr(0, plain));
    bytes.remove_prefix(plain);
  }
}

}  // namespace floe
