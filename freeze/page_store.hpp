// A minute of whole-guest history is affordable because most pages of it are the same: zero, or equal to another page of the same
// or of an earlier second. The store keeps each distinct 4 KiB page once.
//
// Pages are found by content (XXH3-128 under a per-store random seed, so that a guest cannot aim for collisions), compared byte
// by byte on a hit, and counted: a page lives while somebody holds a reference. The zero page is PageRef 0, is never stored and needs no
// counting. A PageRef stays valid, whatever compress_cold() does to the bytes behind it. A compressed page stays compressed until it dies:
// reading it goes through a small cache of decompressed pages.
//
// Bounds: what the store commits (arena and tables) never exceeds Options::byte_limit; put() fails instead. In steady state (pages die as
// fast as new ones come) no call allocates.
//
// Threads: changes (put, ref, unref, compress_cold, ...) come from one thread at a time, the one that builds snapshots: a worker after
// the thaw, or the engine thread. read() may be called from any thread at any time, also during changes, for a page whose reference the
// reader (or its SnapshotView) holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/may_block.hpp"
#include "base/result.hpp"
#include "freeze/page_arena.hpp"

namespace floe::freeze {

using PageRef = std::uint32_t;
inline constexpr PageRef kZeroPage = 0;
// The contents of a page that nobody captured: counted as little as the zero page, and unreadable.
inline constexpr PageRef kAbsentPage = 0xffff'ffff;
using PageBytes = std::span<const std::byte, kPageBytes>;

struct PageKey {
  std::uint64_t low = 0, high = 0;
  bool operator==(const PageKey&) const = default;
};

bool is_zero(PageBytes page);

class PageStore {
 public:
  static constexpr std::uint64_t kTableBytesPerPage = 48;  // a page's share of the tables, beside its cell

  struct Options {
    std::uint64_t byte_limit = std::uint64_t{1} << 30;  // of everything the store commits; one chunk (4 MiB) at least
    int zstd_level = 1;
    PageKey (*hash)(PageBytes page, std::uint64_t seed) = nullptr;  // XXH3-128; a test gives a worse one
  };

  struct Stats {
    std::uint64_t pages = 0;                                                             // distinct pages alive
    std::uint64_t bytes_in_use = 0;                                                      // their cells and their share of the tables
    std::uint64_t arena_bytes = 0;                                                       // committed: cells used or not, and the tables
    std::uint64_t compressed_pages = 0;                                                  // of `pages`
    std::uint64_t compressed_bytes = 0;                                                  // cells of the compressed ones
    std::uint64_t incompressible = 0;                                                    // of `pages`: tried, did not shrink
    std::uint64_t puts = 0, zero_hits = 0, dedup_hits = 0, collisions = 0, refused = 0;  // since the start
  };

  // Error: the limit is below one chunk or beyond 255 GiB, or address space is short.
  static Result<std::shared_ptr<PageStore>> create(Options options);
  ~PageStore();
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  // The page with these bytes, with one reference more that the caller now holds. Error (code ENOSPC): it does not fit.
  Result<PageRef> put(PageBytes page);
  void ref(PageRef page);
  void unref(PageRef page);

  // Copies bytes [offset, offset + out.size()) of the page. False, and nothing copied, when the page is not alive or the range leaves it.
  // `place` gets where the page's bytes are now; left alone when it is compressed, or zero.
  using Place = PageArena::Cell;
  static constexpr Place kNoPlace = PageArena::kNoCell;
  bool read(PageRef page, std::size_t offset, std::span<std::byte> out, Place* place = nullptr) const;

  // Asks for the cache lines of bytes that are read soon. A place is a guess: what was there may have gone, and then it is for nothing.
  void prefetch(Place place, std::size_t offset, std::size_t bytes) const;

  // Pages put or referenced from now on count as used in `epoch`.
  void set_epoch(std::uint32_t epoch);
  // Compresses up to `max_pages` pages last used before `before_epoch`, going round; returns how many it tried (0: nothing is left to do).
  // 6-13 us a page.
  std::size_t compress_cold(std::uint32_t before_epoch, std::size_t max_pages);

  // Commits and pre-faults so that `pages` more raw pages fit, as far as the limit allows.
  void reserve(std::uint64_t pages);

  Stats stats() const;
  std::uint64_t bytes_in_use() const;
  // What releasing these pages, one reference each, would free: the bytes of those that nobody else holds. Each page once.
  std::uint64_t bytes_held_alone(std::span<const PageRef> pages) const;
  // What the pages take but for those that nobody but `pages` (one reference each) holds.
  struct Held {
    std::uint64_t raw_bytes = 0, compressed_bytes = 0,
                  index_bytes = 0;  // cells as they are, cells of compressed ones, their share of tables
  };
  Held held_without(std::span<const PageRef> pages) const;
  // An upper bound of all PageRefs alive, for tables indexed by them.
  PageRef ref_limit() const;

  // Release in two steps, for a caller that must know how much it would gain before it decides. drop() gives a reference back and returns
  // the bytes that sweep() would free: nonzero only for the last reference. Each drop is followed by undrop(), or, if it returned
  // nonzero, by sweep(). No put() between them.
  std::uint64_t drop(PageRef page);
  void undrop(PageRef page);
  void sweep(PageRef page);

 private:
  struct Slot {
    PageKey key;
    std::uint32_t references = 0;
    PageRef next = 0;  // in its hash chain, or in the list of free slots
    PageArena::Cell cell = PageArena::kNoCell;
    std::uint32_t epoch = 0;
    std::uint16_t stored = 0;  // bytes in the cell: kPageBytes = raw
    bool incompressible = false;
  };
  static constexpr std::size_t kSlotChunk = 16384;
  struct Compressor;
  struct Inflated;

  PageStore() = default;
  static_assert(kTableBytesPerPage == sizeof(Slot) + 2 * sizeof(PageRef));
  Slot& slot(PageRef page) const { return slots_[page / kSlotChunk][page % kSlotChunk]; }
  bool alive(PageRef page) const { return page != 0 && page < used_slots_ && slot(page).cell != PageArena::kNoCell; }
  Slot& live_slot(PageRef page, const char* action) const;
  PageRef& bucket(const PageKey& key) { return buckets_[key.low & (buckets_.size() - 1)]; }
  bool held_alone(PageRef page) const { return alive(page) && slot(page).references == 1; }
  bool equal(PageRef page, PageBytes bytes) const;
  bool read_locked(PageRef page, std::size_t offset, std::span<std::byte> out, Place* place = nullptr) const;
  PageRef take_slot();
  void grow_buckets();
  void limit_arena();
  std::uint64_t table_bytes() const;
  static std::uint64_t cost(const Slot& slot) { return PageArena::cell_bytes(slot.stored) + kTableBytesPerPage; }
  void forget_inflated(PageRef page) const;
  bool compress(PageRef page);
  tl::unexpected<Error> refuse();

  Options options_;
  std::uint64_t seed_ = 0;
  std::unique_ptr<PageArena> arena_;
  std::vector<std::unique_ptr<Slot[]>> slots_;
  std::vector<PageRef> buckets_;
  PageRef used_slots_ = 1;  // slot 0 is the zero page's and stays unused
  PageRef free_slots_ = 0;
  PageRef cursor_ = 1;  // of compress_cold
  std::uint32_t epoch_ = 0;
  Stats stats_;
  std::unique_ptr<Compressor> compressor_;
  std::unique_ptr<Inflated> inflated_;
  mutable Checked<std::shared_mutex> mutex_;  // readers against the one who changes
};

}  // namespace floe::freeze
