#include "freeze/snapshot_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace floe::freeze {
namespace {

std::string mib(std::uint64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

}  // namespace

void SnapshotRing::Pins::drain() {
  for (const PageRef ref : parked) store->unref(ref);
  parked.clear();
}

bool SnapshotRing::Pins::anyone_up_to(std::uint64_t number) const {
  return std::any_of(views.begin(), views.end(), [number](std::uint64_t viewed) { return viewed <= number; });
}

SnapshotRing::SnapshotRing(std::shared_ptr<PageStore> store, Options options)
    : store_(std::move(store)), pins_(std::make_shared<Pins>(store_)), options_(options) {
  options_.depth = std::max<std::size_t>(options_.depth, 1);
  base_.assign(options_.pages, kZeroPage);
  newest_.assign(options_.pages, kZeroPage);
}

SnapshotRing::~SnapshotRing() {
  const std::lock_guard lock(pins_->mutex);
  const auto release = [this](PageRef ref) {
    if (pins_->views.empty())
      store_->unref(ref);
    else
      pins_->parked.push_back(ref);
  };
  pins_->parked_number = counters_.taken;
  for (const PageRef ref : base_) release(ref);
  for (const Entry& entry : entries_)
    for (const PageChange& change : entry.changes) release(change.ref);
}

Result<PageRef> SnapshotRing::put(PageBytes page) {
  for (;;) {
    auto ref = store_->put(page);
    if (ref || entries_.size() < 2) return ref;
    const std::lock_guard lock(pins_->mutex);
    note_growth();
    const std::uint64_t before = bytes_locked();
    fold(1);
    commit_folds(1);
    ++counters_.evicted_for_bytes;
    settled_bytes_ -= std::min(settled_bytes_, before - bytes_locked());
  }
}

Result<> SnapshotRing::check(std::span<const PageChange> changes) const {
  std::uint64_t next = 0;
  for (const PageChange& change : changes) {
    if (change.page < next || change.page >= options_.pages)
      return fail("snapshot refused: page index " + std::to_string(change.page) + " is out of order or beyond the guest's " +
                  std::to_string(options_.pages) + " pages");
    next = std::uint64_t{change.page} + 1;
  }
  return {};
}

void SnapshotRing::drop_unchanged(std::span<const PageChange> changes, std::vector<PageChange>& kept) {
  const auto differs = [this](const PageChange& change) { return newest_[change.page] != change.ref; };
  kept.reserve(static_cast<std::size_t>(std::count_if(changes.begin(), changes.end(), differs)));
  for (const PageChange& change : changes) {
    if (differs(change)) {
      kept.push_back(change);
      continue;
    }
    store_->unref(change.ref);  // never the last one: the ring holds it
    if (!entries_.empty()) ++counters_.unchanged_pages;
  }
}

// Swaps entry's list with the base, so that the list holds what the base held before, and drops those references for now.
// Returns the bytes that releasing them frees.
std::uint64_t SnapshotRing::fold(std::size_t entry) {
  std::uint64_t freed = 0;
  for (PageChange& change : entries_[entry].changes) {
    std::swap(base_[change.page], change.ref);
    const std::uint64_t bytes = store_->drop(change.ref);
    if (bytes > 0) dropped_.push_back(change.ref);
    freed += bytes;
  }
  return freed;
}

// Takes fold() back; folds are undone newest first.
void SnapshotRing::unfold(std::size_t entry) {
  for (PageChange& change : entries_[entry].changes) {
    store_->undrop(change.ref);
    std::swap(base_[change.page], change.ref);
  }
}

// Makes the folds of entries [1, folds] final: the entries before leave, entry `folds` is the oldest now.
void SnapshotRing::commit_folds(std::size_t folds) {
  if (folds == 0) return;
  const std::uint64_t last_gone = entries_[folds - 1].number;
  const bool seen = pins_->anyone_up_to(last_gone);
  entry_bytes_ -= folded_bytes(folds);
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(folds));
  std::vector<PageChange>().swap(entries_.front().changes);  // frees, unlike = {}
  counters_.evicted += folds;
  for (const PageRef page : dropped_) {
    if (!seen) {
      store_->sweep(page);
      continue;
    }
    store_->undrop(page);
    pins_->parked.push_back(page);
    pins_->parked_number = last_gone;
  }
  dropped_.clear();
}

// What the ring's own tables shrink by when the folds of entries [1, folds] become final.
std::uint64_t SnapshotRing::folded_bytes(std::size_t folds) const {
  std::uint64_t bytes = 0;
  for (std::size_t n = 0; n < folds; ++n) bytes += entries_[n].bytes();
  return bytes + entries_[folds].list_bytes();
}

std::uint64_t SnapshotRing::bytes_locked() const {
  const std::uint64_t parked = store_->bytes_held_alone(pins_->parked);
  return (base_.capacity() + newest_.capacity()) * sizeof(PageRef) + entry_bytes_ + store_->bytes_in_use() - parked;
}

std::uint64_t SnapshotRing::bytes() const {
  const std::lock_guard lock(pins_->mutex);
  return bytes_locked();
}

SnapshotRing::Parts SnapshotRing::parts() const {
  const std::lock_guard lock(pins_->mutex);
  const PageStore::Held held = store_->held_without(pins_->parked);
  Parts parts;
  parts.raw_pages = held.raw_bytes;
  parts.compressed_pages = held.compressed_bytes;
  parts.page_index = held.index_bytes;
  parts.page_tables = (base_.capacity() + newest_.capacity()) * sizeof(PageRef);
  for (const Entry& entry : entries_) parts.change_lists += entry.list_bytes();
  parts.machine_states = entry_bytes_ - parts.change_lists;
  return parts;
}

std::uint64_t SnapshotRing::pinned_bytes() const {
  const std::lock_guard lock(pins_->mutex);
  return store_->bytes_held_alone(pins_->parked);
}

// Where bytes are at their most: before something leaves.
void SnapshotRing::note_growth() {
  const std::uint64_t now = bytes_locked();
  counters_.peak_bytes = std::max(counters_.peak_bytes, now);
  counters_.largest_delta = std::max(counters_.largest_delta, now - std::min(now, settled_bytes_));
}

tl::unexpected<Error> SnapshotRing::refuse(const SnapshotMeta& meta, std::size_t changed, std::uint64_t needed) {
  ++counters_.did_not_fit;
  return fail(Error(ENOSPC, "snapshot " + std::to_string(meta.sequence) + " does not fit: with its " + std::to_string(changed) +
                                " changed pages and the image before it the ring takes " + mib(needed) + ", its bound is " +
                                mib(options_.byte_limit) + "; --ring-bytes " + std::to_string(needed) + " would fit"));
}

void SnapshotRing::become_base(std::vector<PageChange>& changes) {
  for (const PageChange& change : changes) base_[change.page] = change.ref;
  std::vector<PageChange>().swap(changes);  // frees, unlike = {}
}

Result<> SnapshotRing::push(const SnapshotMeta& meta, MachineState machine, std::span<const PageChange> changes) {
  if (auto checked = check(changes); !checked) {
    for (const PageChange& change : changes) store_->unref(change.ref);
    return checked;
  }
  const std::lock_guard lock(pins_->mutex);
  Entry& entry = entries_.emplace_back(Entry{counters_.taken + 1, meta, std::make_shared<const MachineState>(std::move(machine)), {}});
  drop_unchanged(changes, entry.changes);
  const std::size_t changed = entry.changes.size();
  entry_bytes_ += entry.bytes();
  note_growth();

  auto fits = entries_.size() == 1 ? fit_first() : fit_next();
  if (!fits) {
    for (const PageChange& change : entry.changes) store_->unref(change.ref);
    entry_bytes_ -= entry.bytes();
    entries_.pop_back();
    settled_bytes_ = bytes_locked();
    return refuse(meta, changed, fits.error());
  }
  for (const PageChange& change : changes) newest_[change.page] = change.ref;
  ++counters_.taken;
  settled_bytes_ = bytes_locked();
  store_->set_epoch(static_cast<std::uint32_t>(counters_.taken + 1));
  return {};
}

tl::expected<void, std::uint64_t> SnapshotRing::fit_first() {
  Entry& entry = entries_.front();
  const std::uint64_t list = entry.changes.capacity() * sizeof(PageChange);
  if (const std::uint64_t needed = bytes_locked() - list; needed > options_.byte_limit) return tl::unexpected(needed);
  entry_bytes_ -= list;
  become_base(entry.changes);
  return {};
}

// Evicts for depth, then for bytes as long as a base and one list stay; nothing is final until it is known to be enough.
tl::expected<void, std::uint64_t> SnapshotRing::fit_next() {
  const std::size_t size = entries_.size();
  const std::size_t for_depth = size > options_.depth ? size - options_.depth : 0;
  const std::size_t most = std::max(for_depth, size - 2);
  std::uint64_t needed = bytes_locked();
  std::uint64_t freed = 0;
  std::size_t folds = 0;
  while (folds < for_depth || (needed > options_.byte_limit && folds < most)) {
    freed += fold(++folds);
    needed = bytes_locked() - folded_bytes(folds) - freed;
  }
  if (needed > options_.byte_limit) {
    for (std::size_t n = folds; n > 0; --n) unfold(n);
    dropped_.clear();
    return tl::unexpected(needed);
  }
  commit_folds(folds);
  counters_.evicted_for_bytes += folds - for_depth;
  return {};
}

std::size_t SnapshotRing::compress_cold(std::size_t hot, std::size_t max_pages) {
  const std::uint64_t epoch = counters_.taken + 1;
  if (epoch <= hot) return 0;
  const std::uint64_t before = bytes();
  const std::size_t tried = store_->compress_cold(static_cast<std::uint32_t>(epoch - hot), max_pages);
  settled_bytes_ -= std::min(settled_bytes_, before - std::min(before, bytes()));
  return tried;
}

SnapshotView SnapshotRing::view(std::size_t index) const {
  if (index + 1 == entries_.size()) return SnapshotView(pins_, entries_[index], newest_);
  std::vector<PageRef> table = base_;
  for (std::size_t n = 1; n <= index; ++n)
    for (const PageChange& change : entries_[n].changes) table[change.page] = change.ref;
  return SnapshotView(pins_, entries_[index], std::move(table));
}

SnapshotView SnapshotRing::newest() const {
  return view(entries_.size() - 1);
}

SnapshotView::SnapshotView(std::shared_ptr<SnapshotRing::Pins> pins, const SnapshotRing::Entry& entry, std::vector<PageRef> table)
    : pins_(std::move(pins)), number_(entry.number), meta_(entry.meta), machine_(entry.machine), table_(std::move(table)) {
  const std::lock_guard lock(pins_->mutex);
  pins_->views.push_back(number_);
}

SnapshotView& SnapshotView::operator=(SnapshotView&& other) noexcept {
  if (this == &other) return *this;
  unpin();
  pins_ = std::move(other.pins_);
  number_ = other.number_;
  meta_ = other.meta_;
  machine_ = std::move(other.machine_);
  table_ = std::move(other.table_);
  return *this;
}

SnapshotView::~SnapshotView() {
  unpin();
}

void SnapshotView::unpin() {
  if (!pins_) return;
  const auto pins = std::exchange(pins_, nullptr);
  const std::lock_guard lock(pins->mutex);
  pins->views.erase(std::find(pins->views.begin(), pins->views.end(), number_));
  if (!pins->anyone_up_to(pins->parked_number)) pins->drain();
}

void SnapshotRing::let_readers() noexcept {
  pins_->held.store(0);
  pins_->held.notify_all();
}

bool SnapshotView::read(std::uint32_t page, std::size_t offset, std::span<std::byte> out, PageStore::Place* place) const {
  pins_->stand_aside();
  return page < table_.size() && pins_->store->read(table_[page], offset, out, place);
}

void SnapshotView::prefetch(PageStore::Place place, std::size_t offset, std::size_t bytes) const {
  pins_->store->prefetch(place, offset, bytes);
}

}  // namespace floe::freeze
