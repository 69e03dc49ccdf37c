// Where in a core file the bytes of an address are: disjoint pieces in address order, made of segments that may overlap.
//
// QEMU with paging lists a page once per mapping, kdump lists the kernel image and again the RAM below it; the bytes are the same. Of two
// pieces of one address the one that starts first is taken, and bytes of the file before zeroes.
#pragma once

#include <cstdint>
#include <vector>

namespace floe::walkers::core {

struct Extent {
  static constexpr std::uint64_t kZeroes = ~std::uint64_t{0};
  std::uint64_t start = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = kZeroes;  // in the file; kZeroes: there are none in the file, all are zero

  std::uint64_t end() const { return start + bytes; }
  bool zeroes() const { return offset == kZeroes; }
};

class Extents {
 public:
  Extents() = default;
  // In any order, overlapping at will; none wraps around the address space.
  explicit Extents(std::vector<Extent> pieces);

  // The piece that holds `address`, or null.
  const Extent* find(std::uint64_t address) const;
  const std::vector<Extent>& all() const { return extents_; }
  bool empty() const { return extents_.empty(); }

 private:
  std::vector<Extent> extents_;
};

}  // namespace floe::walkers::core
