#include "walkers/core/extents.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace floe::walkers::core {
namespace {

// Of two that start together the longer one comes first, then the one that stands first in the file.
bool starts_before(const Extent& a, const Extent& b) {
  return std::tuple(a.start, b.bytes, a.offset) < std::tuple(b.start, a.bytes, b.offset);
}

// Sorted and disjoint, by cutting off what an earlier one already holds.
std::vector<Extent> without_overlaps(std::vector<Extent> pieces) {
  std::sort(pieces.begin(), pieces.end(), starts_before);
  std::vector<Extent> kept;
  std::uint64_t covered = 0;
  for (Extent piece : pieces) {
    if (piece.end() <= covered || piece.bytes == 0) continue;
    if (piece.start < covered) {
      const std::uint64_t cut = covered - piece.start;
      piece.start += cut;
      piece.bytes -= cut;
      if (!piece.zeroes()) piece.offset += cut;
    }
    covered = piece.end();
    Extent* const last = kept.empty() ? nullptr : &kept.back();
    const bool follows = last != nullptr && last->end() == piece.start && last->zeroes() == piece.zeroes() &&
                         (piece.zeroes() || last->offset + last->bytes == piece.offset);
    if (follows)
      last->bytes += piece.bytes;
    else
      kept.push_back(piece);
  }
  return kept;
}

}  // namespace

Extents::Extents(std::vector<Extent> pieces) {
  std::vector<Extent> zeroes;
  for (const Extent& piece : pieces)
    if (piece.zeroes()) zeroes.push_back(piece);
  std::erase_if(pieces, [](const Extent& piece) { return piece.zeroes(); });
  const auto filled = without_overlaps(std::move(pieces));
  zeroes = without_overlaps(std::move(zeroes));

  // Zeroes only where no bytes are.
  std::vector<Extent> gaps;
  auto taken = filled.begin();
  for (const Extent& zero : zeroes) {
    std::uint64_t at = zero.start;
    while (taken != filled.end() && taken->end() <= at) ++taken;
    while (at < zero.end()) {
      const std::uint64_t until = taken == filled.end() ? zero.end() : std::min(zero.end(), taken->start);
      if (until > at) gaps.push_back({at, until - at, Extent::kZeroes});
      if (taken == filled.end() || taken->start >= zero.end()) break;
      at = taken->end();
      if (at <= zero.end()) ++taken;
    }
  }
  extents_.reserve(filled.size() + gaps.size());
  std::merge(filled.begin(), filled.end(), gaps.begin(), gaps.end(), std::back_inserter(extents_), starts_before);
}

const Extent* Extents::find(std::uint64_t address) const {
  const auto after = std::upper_bound(extents_.begin(), extents_.end(), address,
                                      [](std::uint64_t wanted, const Extent& extent) { return wanted < extent.start; });
  if (after == extents_.begin()) return nullptr;
  const Extent& before = *std::prev(after);
  return address - before.start < before.bytes ? &before : nullptr;
}

}  // namespace floe::walkers::core
