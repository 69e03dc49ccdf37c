// Guest memory made by a test: sparse physical pages, and page tables over them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "walkers/memory.hpp"
#include "walkers/page_tables.hpp"

namespace floe::walkers::synthetic {

inline constexpr std::uint64_t kSmallPage = kPageBytes;
inline constexpr std::uint64_t kLargePage = std::uint64_t{2} << 20;
inline constexpr std::uint64_t kHugePage = std::uint64_t{1} << 30;

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Pages come into being when written; everything else is not RAM.
class SparseMemory : public Memory {
 public:
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  // A page that is there counts as at hand, so that walks look ahead.
  bool prefetch(Gpa gpa, std::size_t /*bytes*/) const override { return pages_.contains(gpa.value / kPageBytes); }
  std::vector<PhysRange> populated() const override;

  void write(Gpa gpa, std::span<const std::byte> bytes);
  void erase_page(Gpa gpa) { pages_.erase(gpa.value / kPageBytes); }

  template <class T>
  void put(Gpa gpa, T value) {
    write(gpa, std::as_bytes(std::span(&value, 1)));
  }

  mutable std::uint64_t reads = 0;  // calls of read()

 private:
  std::map<std::uint64_t, std::array<std::byte, kPageBytes>> pages_;
};

// Page tables in a SparseMemory; tables are taken from `pool` upwards.
class PageTableBuilder {
 public:
  PageTableBuilder(SparseMemory& memory, Gpa root, bool five_levels, Gpa pool);

  void map(Kva kva, Gpa gpa, std::uint64_t page_bytes = kSmallPage);
  void unmap(Kva kva);

  // Where the entry that maps `kva` at this level (1 = PTE) lies; tables on the way are made when missing.
  Gpa entry(Kva kva, int level);

  PageTables tables() const { return PageTables(memory_, root_, five_levels_); }

 private:
  SparseMemory& memory_;
  Gpa root_;
  bool five_levels_;
  Gpa next_;
};

}  // namespace floe::walkers::synthetic
