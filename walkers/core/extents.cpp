#include "walkers/core/extents.hpp"

#include <algorithm>
#include <iterator>

namespace floe::walkers::core {
namespace {

bool starts_before(const Extent& a, const Extent& b) {
  return a.start < b.start;
}

// Sorted and disjoint, by cutting off what an earlier one already holds.
std::vector<Extent> without_overlaps(std::vector<Extent> pieces) {
  std::stable_sort(pieces.begin(), pieces.end(), starts_before);
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
  const auto border = std::stable_partition(pieces.begin(), pieces.end(), [](const Extent& piece) { return !piece.zeroes(); });
  std::vector<Extent> zeroes(border, pieces.end());
  pieces.erase(border, pieces.end());
  extents_ = without_overlaps(std::move(pieces));
  zeroes = without_overlaps(std::move(zeroes));

  // Zeroes only where no bytes are.
  std::vector<Extent> gaps;
  auto taken = extents_.begin();
  for (const Extent& zero : zeroes) {
    std::uint64_t at = zero.start;
    while (taken != extents_.end() && taken->end() <= at) ++taken;
    while (at < zero.end()) {
      const std::uint64_t until = taken == extents_.end() ? zero.end() : std::min(zero.end(), taken->start);
      if (until > at) gaps.push_back({at, until - at, Extent::kZeroes});
      if (taken == extents_.end() || taken->start >= zero.end()) break;
      at = taken->end();
      if (at <= zero.end()) ++taken;
    }
  }
  const auto middle = static_cast<std::ptrdiff_t>(extents_.size());
  extents_.insert(extents_.end(), gaps.begin(), gaps.end());
  std::inplace_merge(extents_.begin(), extents_.begin() + middle, extents_.end(), starts_before);
}

const Extent* Extents::find(std::uint64_t address) const {
  const auto after = std::upper_bound(extents_.begin(), extents_.end(), address,
                                      [](std::uint64_t wanted, const Extent& extent) { return wanted < extent.start; });
  if (after == extents_.begin()) return nullptr;
  const Extent& before = *std::prev(after);
  return address - before.start < before.bytes ? &before : nullptr;
}

}  // namespace floe::walkers::core
