// Where the page store keeps its bytes: one reserved range of address space, committed in pre-faulted chunks, cut into 64 KiB
// spans, each span cut into cells of one size. A raw page is a 4096-byte cell, a compressed one the smallest cell that holds it.
//
// Pre-faulting is the point: copying 1,000 pages into memory that was never touched costs 2.6-4.1 ms, into warm memory 0.3-0.5 ms.
// A span whose last cell is released serves any size again. Private to freeze/; not synchronised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"

namespace floe::freeze {

class PageArena {
 public:
  using Cell = std::uint32_t;  // offset in the arena in units of kUnit
  static constexpr Cell kNoCell = 0xffff'ffff;
  static constexpr std::size_t kUnit = 64;
  static constexpr std::size_t kSpanBytes = 64 << 10;
  static constexpr std::size_t kChunkBytes = 4 << 20;
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{kNoCell} * kUnit;

  // Reserves address space only. Error: the kernel's, or a limit beyond kMaxBytes.
  static Result<std::unique_ptr<PageArena>> create(std::uint64_t limit);
  ~PageArena();
  PageArena(const PageArena&) = delete;
  PageArena& operator=(const PageArena&) = delete;

  // A cell of at least `bytes` (1 to 4096), or kNoCell when it does not fit under the limit.
  Cell allocate(std::size_t bytes);
  void release(Cell cell);
  std::byte* at(Cell cell) const { return base_ + std::uint64_t{cell} * kUnit; }

  // What a cell for `bytes` takes.
  static std::size_t cell_bytes(std::size_t bytes);

  // Commits and pre-faults so that `bytes` more fit in free spans, as far as the limit allows.
  void reserve(std::uint64_t bytes);
  // Lowers (or restores) what may be committed; never takes back what is.
  void set_limit(std::uint64_t bytes);
  std::uint64_t committed() const { return spans_.size() * std::uint64_t{kSpanBytes}; }

 private:
  static constexpr std::uint32_t kNoSpan = 0xffff'ffff;
  static constexpr std::uint16_t kNoFree = 0xffff;
  static constexpr std::size_t kClasses = 25;

  struct Span {
    std::uint32_t previous = kNoSpan, next = kNoSpan;  // in the list of its class, or of free spans
    std::uint16_t live = 0;
    std::uint16_t fresh = 0;            // cells from here on were never used
    std::uint16_t free_head = kNoFree;  // released cells, linked through their first two bytes
    std::uint8_t size_class = 0;
  };

  PageArena() = default;
  static std::size_t class_of(std::size_t bytes);
  static std::size_t class_bytes(std::size_t size_class);
  static std::uint16_t capacity(std::size_t size_class) { return static_cast<std::uint16_t>(kSpanBytes / class_bytes(size_class)); }
  bool grow(std::uint64_t bytes);
  std::uint32_t take_span(std::size_t size_class);
  void link(std::uint32_t& head, std::uint32_t span);
  void unlink(std::uint32_t& head, std::uint32_t span);
  std::byte* cell_at(std::uint32_t span, std::uint16_t index) const {
    return base_ + std::uint64_t{span} * kSpanBytes + index * class_bytes(spans_[span].size_class);
  }

  std::byte* base_ = nullptr;
  std::uint64_t reserved_ = 0;
  std::uint64_t limit_ = 0;
  std::vector<Span> spans_;
  std::uint64_t free_spans_ = 0;
  std::uint32_t free_ = kNoSpan;
  std::uint32_t partial_[kClasses];
};

}  // namespace floe::freeze
