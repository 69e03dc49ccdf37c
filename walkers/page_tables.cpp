#include "walkers/page_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace floe::walkers {
namespace {

constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kPageSize = 1 << 7;
constexpr std::uint64_t kFrameMask = 0x000ffffffffff000;
constexpr std::array<const char*, 6> kLevelNames = {"", "PTE", "PMD", "PUD", "P4D", "PGD"};

// Bits above the translated ones must repeat the highest translated one.
bool is_canonical(std::uint64_t address, bool five_levels) {
  const int unused = five_levels ? 64 - 57 : 64 - 48;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << unused) >> unused) == address;
}

}  // namespace

struct PageTables::Walk {
  enum class End { mapped, not_canonical, not_present, no_table, huge_top } end;
  int level = 0;  // 1 is the PTE; where it ended
  Translation translation;
  Gpa table;
};

PageTables::Walk PageTables::walk(Kva kva) const {
  if (!is_canonical(kva.value, five_levels_)) return {Walk::End::not_canonical, 0, {}, {}};
  Gpa table = root_;
  for (int level = five_levels_ ? 5 : 4; level >= 1; --level) {
    const int shift = static_cast<int>(kPageShift) + 9 * (level - 1);
    const std::uint64_t index = (kva.value >> shift) & 511;
    std::array<std::byte, 8> bytes;
    if (memory_->read(table + index * 8, bytes) != bytes.size()) return {Walk::End::no_table, level, {}, table};
    std::uint64_t entry = 0;
    std::memcpy(&entry, bytes.data(), sizeof entry);
    if ((entry & kPresent) == 0) return {Walk::End::not_present, level, {}, table};
    const bool leaf = level == 1 || (entry & kPageSize) != 0;
    if (leaf && level > 3) return {Walk::End::huge_top, level, {}, table};
    if (leaf) {
      const std::uint64_t page_bytes = std::uint64_t{1} << shift;
      const std::uint64_t frame = entry & kFrameMask & ~(page_bytes - 1);
      return {Walk::End::mapped, level, {Gpa(frame | (kva.value & (page_bytes - 1))), page_bytes, table}, table};
    }
    table = Gpa(entry & kFrameMask);
  }
  return {Walk::End::not_present, 0, {}, table};
}

std::optional<Translation> PageTables::translate(Kva kva) const {
  const Walk result = walk(kva);
  if (result.end != Walk::End::mapped) return std::nullopt;
  return result.translation;
}

std::optional<Gpa> PageTables::translate_in(Gpa last_table, Kva kva) const {
  std::array<std::byte, 8> bytes;
  if (memory_->read(last_table + ((kva.value >> kPageShift) & 511) * 8, bytes) != bytes.size()) return std::nullopt;
  std::uint64_t entry = 0;
  std::memcpy(&entry, bytes.data(), sizeof entry);
  if ((entry & kPresent) == 0) return std::nullopt;
  return Gpa((entry & kFrameMask) | (kva.value & (kPageBytes - 1)));
}

Kva PageTables::next_mapped(Kva from, Kva end) const {
  while (from < end) {
    const Walk result = walk(from);
    if (result.end == Walk::End::mapped) return from;
    if (result.level == 0) return end;  // not canonical, and so is all up to the next half
    const std::uint64_t span = std::uint64_t{1} << (static_cast<int>(kPageShift) + 9 * (result.level - 1));
    Kva next((from.value / span + 1) * span);
    if (result.level == 1 && result.end == Walk::End::not_present) {
      // The rest of the last table at once.
      std::array<std::uint64_t, 512> entries{};
      const std::uint64_t index = (from.value >> kPageShift) & 511;
      const auto rest = std::span(entries).subspan(index);
      const auto got = memory_->read(result.table + index * 8, std::as_writable_bytes(rest)) / sizeof(std::uint64_t);
      const auto present =
          std::find_if(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(got), [](auto entry) { return (entry & kPresent) != 0; });
      next = Kva(from.value + (static_cast<std::uint64_t>(present - rest.begin()) << kPageShift));
      if (next == from) next = from + kPageBytes;
    }
    if (next < from) return end;  // past the top of the address space
    from = next;
  }
  return end;
}

std::string PageTables::explain(Kva kva) const {
  const Walk result = walk(kva);
  const auto level = kLevelNames[static_cast<std::size_t>(result.level)];
  switch (result.end) {
    case Walk::End::mapped:
      return fmt::format("{:#x}: mapped to {:#x}, which is not RAM", kva.value, result.translation.gpa.value);
    case Walk::End::not_canonical:
      return fmt::format("{:#x}: not a canonical address", kva.value);
    case Walk::End::not_present:
      return fmt::format("{:#x}: not present at the {}", kva.value, level);
    case Walk::End::no_table:
      return fmt::format("{:#x}: its {} table at {:#x} is not RAM", kva.value, level, result.table.value);
    case Walk::End::huge_top:
      return fmt::format("{:#x}: its {} has the reserved page-size bit set", kva.value, level);
  }
  return {};
}

}  // namespace floe::walkers
