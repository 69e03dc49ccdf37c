// Many members of many objects of one struct: the members' places are worked out once, and each object is read in as few pieces as its
// members' places allow, which is what makes a table of a thousand tasks a matter of a millisecond.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "walkers/field.hpp"
#include "walkers/kernel_memory.hpp"

namespace floe::walkers {

class StructBlock {
 public:
  // Members further apart than this are read separately: what lies between them would be waited for in vain.
  static constexpr std::uint64_t kLargestGap = 128;
  static constexpr std::uint64_t kMaxMemberBytes = 4096;

  StructBlock() = default;
  // Plans the pieces that hold all of `fields`.
  explicit StructBlock(std::span<const Field> fields);

  // The object is loaded soon, some others are before it.
  void prefetch(const KernelMemory& memory, Kva object) const {
    for (const Piece& piece : pieces_) memory.prefetch(object + piece.offset, piece.bytes);
  }

  // Reads one object; members in pieces that are not readable are absent until the next load().
  void load(const KernelMemory& memory, Kva object);

  // As KernelMemory::get_number(), get_pointer() and get_string(), for a member that the block was planned with.
  std::optional<std::uint64_t> number(Field field) const;
  std::optional<Kva> pointer(Field field) const;
  std::optional<std::string> text(Field field) const;

  template <class T>
  std::optional<T> as(const std::optional<Field>& field) const {
    if (!field) return std::nullopt;
    const auto value = number(*field);
    return value ? std::optional(static_cast<T>(*value)) : std::nullopt;
  }

 private:
  struct Piece {
    std::uint32_t offset = 0;  // in the struct
    std::uint32_t bytes = 0;
    std::size_t at = 0;  // in buffer_
    std::size_t good = 0;
  };
  // Pieces are further apart than a line is long, so that the line of an offset names its piece.
  static constexpr std::uint32_t kLine = 64;
  static constexpr std::size_t kMostLines = 1024;
  static constexpr std::uint8_t kNoPiece = 0xff;
  static_assert(kLargestGap >= 2 * kLine);
  const Piece* piece_of(Field field) const;
  std::span<const std::byte> bytes_of(Field field) const;

  std::vector<Piece> pieces_;
  std::vector<std::uint8_t> piece_by_line_;  // of the first kMostLines lines
  std::vector<std::byte> buffer_;
};

}  // namespace floe::walkers
