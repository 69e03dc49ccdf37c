#include "walkers/struct_block.hpp"

#include <algorithm>
#include <bit>

namespace floe::walkers {

StructBlock::StructBlock(std::span<const Field> fields) {
  std::vector<Field> sorted;
  for (const Field& field : fields)
    if (field.bytes != 0 && field.bytes <= kMaxMemberBytes) sorted.push_back(field);
  std::sort(sorted.begin(), sorted.end(), [](const Field& a, const Field& b) { return a.offset < b.offset; });
  for (const Field& field : sorted) {
    const std::uint64_t end = std::uint64_t{field.offset} + field.bytes;
    if (pieces_.empty() || field.offset > std::uint64_t{pieces_.back().offset} + pieces_.back().bytes + kLargestGap)
      pieces_.push_back({field.offset, 0, 0, 0});
    Piece& piece = pieces_.back();
    piece.bytes = static_cast<std::uint32_t>(std::max<std::uint64_t>(piece.bytes, end - piece.offset));
  }
  std::size_t total = 0;
  for (Piece& piece : pieces_) {
    piece.at = total;
    total += piece.bytes;
  }
  buffer_.resize(total);
}

void StructBlock::load(const KernelMemory& memory, Kva object) {
  for (Piece& piece : pieces_) piece.good = memory.read(object + piece.offset, std::span(buffer_).subspan(piece.at, piece.bytes));
}

std::span<const std::byte> StructBlock::bytes_of(Field field) const {
  for (const Piece& piece : pieces_)
    if (field.offset >= piece.offset && field.offset - piece.offset + field.bytes <= piece.good)
      return std::span(buffer_).subspan(piece.at + (field.offset - piece.offset), static_cast<std::size_t>(field.bytes));
  return {};
}

std::optional<std::uint64_t> StructBlock::number(Field field) const {
  std::uint64_t value = 0;
  if (!std::has_single_bit(field.bytes) || field.bytes > sizeof value) return std::nullopt;
  const auto bytes = bytes_of(field);
  if (bytes.empty()) return std::nullopt;
  std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}

std::optional<Kva> StructBlock::pointer(Field field) const {
  const auto value = number(field);
  if (!value || *value == 0) return std::nullopt;
  return Kva(*value);
}

std::optional<std::string> StructBlock::text(Field field) const {
  const auto bytes = bytes_of(field);
  if (bytes.empty()) return std::nullopt;
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  return std::string(begin, std::find(begin, begin + bytes.size(), '\0'));
}

}  // namespace floe::walkers
