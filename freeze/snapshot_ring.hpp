// The newest seconds of a guest, each a whole image, in bounded memory.
//
// The oldest snapshot is kept as a full table of pages (the base), each later one as the sorted list of pages that differ from its
// predecessor. When the ring is full by depth or by bytes, the oldest leaves: the second oldest's list is folded into the base and the
// pages it replaced lose a reference. A page with the same bytes as before is dropped from the list, so an over-approximating dirty source
// costs nothing here.
//
// Bytes are all that grows with the history: pages, their index in the store, the ring's own tables and lists, and machine states
// (Parts). After each push they are within the limit; while a tick's pages are on their way they exceed it by no more than these. Evicting
// is planned before it is done: a push that would not fit even with everything older gone is refused and the history stays.
//
// A SnapshotView is independent of the ring's later changes, also when the ring goes first. When its snapshot has left the ring, the
// pages that only such a view can see stay in the store until it is gone; they no longer count as the ring's bytes (pinned_bytes()), and
// only the store's own limit bounds them. A view of a snapshot that the ring still has costs nothing.
//
// Threads: one at a time, the store's changing thread. Views may be read and destroyed on any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/may_block.hpp"
#include "freeze/page_store.hpp"
#include "freeze/snapshot.hpp"

namespace floe::freeze {

struct PageChange {
  std::uint32_t page = 0;   // index
  PageRef ref = kZeroPage;  // kAbsentPage: it changed, and was not captured
};

class SnapshotView;

class SnapshotRing {
 public:
  struct Options {
    std::uint32_t pages = 0;  // of the guest; indexes are below it
    std::size_t depth = 60;   // at least 1
    // Below the store's own limit by what one tick may bring, or put() has to evict before push() can plan.
    std::uint64_t byte_limit = std::uint64_t{1} << 30;
  };

  struct Counters {
    std::uint64_t taken = 0;    // pushed successfully
    std::uint64_t evicted = 0;  // for depth or for bytes
    std::uint64_t evicted_for_bytes = 0;
    std::uint64_t skipped_ticks = 0;    // as told by count_skipped()
    std::uint64_t did_not_fit = 0;      // ticks refused by put() or push()
    std::uint64_t unchanged_pages = 0;  // reported dirty, same bytes
    std::uint64_t peak_bytes = 0;       // most at any moment, with the pages of the tick that was being stored
    std::uint64_t largest_delta = 0;    // most bytes that one tick brought, taken or refused; the first brings everything
  };

  // What bytes() consists of.
  struct Parts {
    std::uint64_t raw_pages = 0;         // cells of distinct pages as they are
    std::uint64_t compressed_pages = 0;  // cells of the others
    std::uint64_t page_index = 0;        // the store's tables, as far as these pages use them
    std::uint64_t page_tables = 0;       // of the oldest and the newest snapshot
    std::uint64_t change_lists = 0;
    std::uint64_t machine_states = 0;  // with each snapshot's own record
    std::uint64_t sum() const { return raw_pages + compressed_pages + page_index + page_tables + change_lists + machine_states; }
  };

  SnapshotRing(std::shared_ptr<PageStore> store, Options options);
  ~SnapshotRing();
  SnapshotRing(const SnapshotRing&) = delete;
  SnapshotRing& operator=(const SnapshotRing&) = delete;

  // PageStore::put, which evicts the oldest snapshots as long as the store itself is full. Error: does not fit; the caller releases what it
  // put for this tick, and calls count_did_not_fit().
  Result<PageRef> put(PageBytes page);

  // The first push lists all pages that are not zero, a later one the pages that may have changed; page indexes ascend strictly. Takes over
  // one reference for each entry, also when it fails. Error (code ENOSPC): does not fit, with what would; counted. Other errors: a list out
  // of order.
  Result<> push(const SnapshotMeta& meta, MachineState machine, std::span<const PageChange> changes);

  void count_skipped(std::uint64_t ticks) { counters_.skipped_ticks += ticks; }
  void count_did_not_fit() { ++counters_.did_not_fit; }

  // Compresses up to `max_pages` pages that none of the newest `hot` snapshots put; returns how many it tried. Between pushes, off the
  // engine.
  std::size_t compress_cold(std::size_t hot, std::size_t max_pages);

  // 0 is the oldest. Indexes are below size(), and newest() needs one.
  std::size_t size() const { return entries_.size(); }
  const SnapshotMeta& meta(std::size_t index) const { return entries_[index].meta; }
  const MachineState& machine(std::size_t index) const { return *entries_[index].machine; }
  // Builds the view's page table: one copy of the base's (4 bytes a page) and the lists up to `index`.
  SnapshotView view(std::size_t index) const;
  SnapshotView newest() const;

  // For a writer that goes through all snapshots in order: the oldest one's table, and how a later one differs from its predecessor.
  std::span<const PageRef> base() const { return base_; }
  std::span<const PageChange> changes(std::size_t index) const { return entries_[index].changes; }

  // Readers of views stand aside from here to there: who freezes the guest needs the processors, and on a host with few of them a reader
  // would hold the one that a vCPU waits for to stop. Neither call waits. Not nested; on any one thread, which reads no view meanwhile.
  void hold_readers() noexcept { pins_->held.store(1); }
  void let_readers() noexcept;

  std::uint32_t pages() const { return options_.pages; }
  const PageStore& store() const { return *store_; }
  std::uint64_t bytes() const;
  Parts parts() const;
  std::uint64_t pinned_bytes() const;  // that only views of snapshots no longer here keep
  const Counters& counters() const { return counters_; }

 private:
  friend class SnapshotView;
  struct Entry {
    std::uint64_t number = 0;  // of the push
    SnapshotMeta meta;
    std::shared_ptr<const MachineState> machine;
    std::vector<PageChange> changes;  // against the entry before; empty in the oldest
    std::uint64_t list_bytes() const { return changes.capacity() * sizeof(PageChange); }
    std::uint64_t bytes() const { return sizeof *this + list_bytes() + machine->bytes(); }
  };

  // Who looks at which snapshot, and the pages of snapshots that left the ring while somebody did. Shared with the views, so that the last
  // one that can see such pages releases them.
  struct Pins {
    explicit Pins(std::shared_ptr<PageStore> pages) : store(std::move(pages)) {}
    ~Pins() { drain(); }  // nobody is left to race with
    void drain();
    bool anyone_up_to(std::uint64_t number) const;
    void stand_aside() const {
      while (held.load(std::memory_order_acquire) != 0) [[unlikely]]
        held.wait(1);
    }
    std::shared_ptr<PageStore> store;
    Checked<std::mutex> mutex;
    std::vector<std::uint64_t> views;  // the number of each one's snapshot
    std::vector<PageRef> parked;       // one reference each
    std::uint64_t parked_number = 0;   // of the newest snapshot that has some of them
    std::atomic<int> held{0};          // 1: readers wait
  };

  Result<> check(std::span<const PageChange> changes) const;
  void drop_unchanged(std::span<const PageChange> changes, std::vector<PageChange>& kept);
  std::uint64_t fold(std::size_t entry);
  void unfold(std::size_t entry);
  void commit_folds(std::size_t folds);
  std::uint64_t folded_bytes(std::size_t folds) const;
  void become_base(std::vector<PageChange>& changes);
  tl::expected<void, std::uint64_t> fit_first();  // error: the bytes it would need
  tl::expected<void, std::uint64_t> fit_next();
  tl::unexpected<Error> refuse(const SnapshotMeta& meta, std::size_t changed, std::uint64_t needed);
  std::uint64_t bytes_locked() const;
  void note_growth();

  std::shared_ptr<PageStore> store_;
  std::shared_ptr<Pins> pins_;
  Options options_;
  std::vector<PageRef> base_;    // table of the oldest entry; holds the references
  std::vector<PageRef> newest_;  // table of the newest one; holds none
  std::deque<Entry> entries_;
  std::uint64_t entry_bytes_ = 0;
  std::vector<PageRef> dropped_;     // by the folds being planned: nobody holds them any more
  std::uint64_t settled_bytes_ = 0;  // without what the tick on its way has brought so far
  Counters counters_;
};

// One snapshot, readable as an image.
class SnapshotView {
 public:
  SnapshotView(SnapshotView&&) noexcept = default;
  SnapshotView& operator=(SnapshotView&& other) noexcept;
  ~SnapshotView();

  const SnapshotMeta& meta() const { return meta_; }
  const MachineState& machine() const { return *machine_; }
  std::uint32_t pages() const { return static_cast<std::uint32_t>(table_.size()); }
  std::span<const PageRef> table() const { return table_; }
  // False when the page or the range does not exist.
  bool read(std::uint32_t page, std::size_t offset, std::span<std::byte> out, PageStore::Place* place = nullptr) const;
  // As PageStore::prefetch().
  void prefetch(PageStore::Place place, std::size_t offset, std::size_t bytes) const;

 private:
  friend class SnapshotRing;
  SnapshotView(std::shared_ptr<SnapshotRing::Pins> pins, const SnapshotRing::Entry& entry, std::vector<PageRef> table);
  void unpin();

  std::shared_ptr<SnapshotRing::Pins> pins_;
  std::uint64_t number_ = 0;
  SnapshotMeta meta_;
  std::shared_ptr<const MachineState> machine_;
  std::vector<PageRef> table_;
};

}  // namespace floe::freeze
