#include "walkers/struct_block.hpp"

#include <algorithm>

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
  for (std::size_t i = 0; i < std::min<std::size_t>(pieces_.size(), kNoPiece); ++i)
    for (std::size_t line = pieces_[i].offset / kLine; line < kMostLines && line * kLine < pieces_[i].offset + pieces_[i].bytes; ++line) {
      if (piece_by_line_.size() <= line) piece_by_line_.resize(line + 1, kNoPiece);
      piece_by_line_[line] = static_cast<std::uint8_t>(i);
    }
}

void StructBlock::load(const KernelMemory& memory, Kva object) {
  for (Piece& piece : pieces_) piece.good = memory.read(object + piece.offset, std::span(buffer_).subspan(piece.at, piece.bytes));
}

const StructBlock::Piece* StructBlock::piece_of(Field field) const {
  const auto holds = [&](const Piece& piece) {
    return field.offset >= piece.offset && field.bytes <= piece.good && field.offset - piece.offset <= piece.good - field.bytes;
  };
  if (const std::size_t line = field.offset / kLine; line < piece_by_line_.size() && piece_by_line_[line] != kNoPiece) {
    const Piece& piece = pieces_[piece_by_line_[line]];
    return holds(piece) ? &piece : nullptr;
  }
  const auto found = std::find_if(pieces_.begin(), pieces_.end(), holds);
  return found == pieces_.end() ? nullptr : &*found;
}

std::span<const std::byte> StructBlock::bytes_of(Field field) const {
  const Piece* piece = piece_of(field);
  if (piece == nullptr) return {};
  return std::span(buffer_).subspan(piece->at + (field.offset - piece->offset), static_cast<std::size_t>(field.bytes));
}

std::optional<std::uint64_t> StructBlock::number(Field field) const {
  const Piece* piece = piece_of(field);
  if (piece == nullptr) return std::nullopt;
  const std::byte* at = buffer_.data() + piece->at + (field.offset - piece->offset);
  const auto load = [&]<class T>(T value) {
    std::memcpy(&value, at, sizeof value);
    return std::uint64_t{value};
  };
  switch (field.bytes) {
    case 1:
      return load(std::uint8_t{});
    case 2:
      return load(std::uint16_t{});
    case 4:
      return load(std::uint32_t{});
    case 8:
      return load(std::uint64_t{});
    default:
      return std::nullopt;
  }
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
