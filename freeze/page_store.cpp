#include "freeze/page_store.hpp"

#include <sys/random.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "walkers/memory.hpp"

namespace floe::freeze {
namespace {

// A compressed page must leave at least a quarter, or inflating it is not worth the gain.
constexpr std::size_t kCompressedMax = 3072;
// Slots looked at under one lock, so that a reader never waits long.
constexpr std::size_t kScanBatch = 4096;
constexpr std::size_t kInflatedPages = 64;

PageKey xxh3_key(PageBytes page, std::uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(page.data(), page.size(), seed);
  return {hash.low64, hash.high64};
}

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof seed)) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    seed = static_cast<std::uint64_t>(now.tv_nsec) * 0x9e37'79b9'7f4a'7c15;
  }
  return seed;
}

[[noreturn]] void broken(const char* what, PageRef page) {
  std::fprintf(stderr, "floe: page store: %s of page %u that nobody holds\n", what, page);
  std::abort();
}

bool counted(PageRef page) {
  return page != kZeroPage && page != kAbsentPage;
}

}  // namespace

bool is_zero(PageBytes page) {
  // Most pages that are not zero show it in the first words; a whole page is one overlapping compare.
  std::uint64_t first = 0;
  std::memcpy(&first, page.data(), sizeof first);
  return first == 0 && std::memcmp(page.data(), page.data() + sizeof first, page.size() - sizeof first) == 0;
}

struct PageStore::Compressor {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::array<std::byte, kPageBytes> output;
  ~Compressor() { ZSTD_freeCCtx(context); }
};

// Decompressed pages by PageRef, direct-mapped.
struct PageStore::Inflated {
  std::mutex mutex;
  ZSTD_DCtx* context = ZSTD_createDCtx();
  std::array<PageRef, kInflatedPages> page{};
  std::array<std::array<std::byte, kPageBytes>, kInflatedPages> bytes;
  ~Inflated() { ZSTD_freeDCtx(context); }
};

Result<std::shared_ptr<PageStore>> PageStore::create(Options options) {
  if (options.byte_limit < PageArena::kChunkBytes)
    return fail("a page store of " + std::to_string(options.byte_limit) + " bytes: give it at least " +
                std::to_string(PageArena::kChunkBytes));
  auto store = std::shared_ptr<PageStore>(new PageStore);
  if (!options.hash) options.hash = xxh3_key;
  store->options_ = options;
  store->seed_ = random_seed();
  auto arena = PageArena::create(options.byte_limit);
  if (!arena) return fail(std::move(arena).error());
  store->arena_ = std::move(*arena);
  store->compressor_ = std::make_unique<Compressor>();
  store->inflated_ = std::make_unique<Inflated>();
  if (!store->compressor_->context || !store->inflated_->context) return fail(Error(ENOMEM, "creating the page store's zstd contexts"));
  store->buckets_.assign(kSlotChunk, 0);
  store->limit_arena();
  return store;
}

PageStore::~PageStore() = default;

std::uint64_t PageStore::table_bytes() const {
  return slots_.size() * kSlotChunk * sizeof(Slot) + buckets_.size() * sizeof(PageRef);
}

void PageStore::limit_arena() {
  const std::uint64_t tables = table_bytes();
  arena_->set_limit(options_.byte_limit > tables ? options_.byte_limit - tables : 0);
}

tl::unexpected<Error> PageStore::refuse() {
  ++stats_.refused;
  return fail(Error(ENOSPC, "the page store is full: " + std::to_string(stats_.pages) + " distinct pages take " +
                                std::to_string(stats_.bytes_in_use >> 20) + " MiB of " + std::to_string(options_.byte_limit >> 20) +
                                " MiB"));
}

PageStore::Slot& PageStore::live_slot(PageRef page, const char* action) const {
  if (!alive(page)) broken(action, page);
  return slot(page);
}

bool PageStore::equal(PageRef page, PageBytes bytes) const {
  const Slot& candidate = slot(page);
  if (candidate.stored == kPageBytes) return std::memcmp(arena_->at(candidate.cell), bytes.data(), kPageBytes) == 0;
  std::array<std::byte, kPageBytes> inflated;
  return read_locked(page, 0, inflated) && std::memcmp(inflated.data(), bytes.data(), kPageBytes) == 0;
}

PageRef PageStore::take_slot() {
  if (free_slots_ != 0) {
    const PageRef page = free_slots_;
    free_slots_ = slot(page).next;
    return page;
  }
  if (used_slots_ == slots_.size() * kSlotChunk || slots_.empty()) {
    if (arena_->committed() + table_bytes() + kSlotChunk * sizeof(Slot) > options_.byte_limit) return 0;
    slots_.push_back(std::make_unique<Slot[]>(kSlotChunk));
    limit_arena();
  }
  return used_slots_++;
}

void PageStore::grow_buckets() {
  const std::uint64_t more = buckets_.size() * sizeof(PageRef);
  if (arena_->committed() + table_bytes() + more > options_.byte_limit) return;  // longer chains are the lesser evil
  buckets_.assign(buckets_.size() * 2, 0);
  for (PageRef page = 1; page < used_slots_; ++page) {
    if (slot(page).cell == PageArena::kNoCell) continue;
    PageRef& head = bucket(slot(page).key);
    slot(page).next = head;
    head = page;
  }
  limit_arena();
}

Result<PageRef> PageStore::put(PageBytes bytes) {
  if (is_zero(bytes)) {
    const std::unique_lock lock(mutex_);
    ++stats_.puts;
    ++stats_.zero_hits;
    return kZeroPage;
  }
  const PageKey key = options_.hash(bytes, seed_);
  const std::unique_lock lock(mutex_);
  ++stats_.puts;
  for (PageRef page = bucket(key); page != 0; page = slot(page).next) {
    Slot& candidate = slot(page);
    if (candidate.key != key) continue;
    if (!equal(page, bytes)) {
      ++stats_.collisions;
      continue;
    }
    ++candidate.references;
    candidate.epoch = epoch_;
    ++stats_.dedup_hits;
    return page;
  }

  const PageRef page = take_slot();
  if (page == 0) return refuse();
  Slot& fresh = slot(page);
  const PageArena::Cell cell = arena_->allocate(kPageBytes);
  if (cell == PageArena::kNoCell) {
    fresh.next = free_slots_;
    free_slots_ = page;
    return refuse();
  }
  std::memcpy(arena_->at(cell), bytes.data(), kPageBytes);
  PageRef& head = bucket(key);
  fresh = Slot{key, 1, head, cell, epoch_, kPageBytes, false};
  head = page;
  ++stats_.pages;
  stats_.bytes_in_use += cost(fresh);
  if (stats_.pages > buckets_.size()) grow_buckets();
  return page;
}

void PageStore::ref(PageRef page) {
  if (!counted(page)) return;
  const std::unique_lock lock(mutex_);
  Slot& held = live_slot(page, "ref");
  if (held.references == 0) broken("ref", page);
  ++held.references;
  held.epoch = epoch_;
}

void PageStore::unref(PageRef page) {
  if (drop(page) > 0) sweep(page);
}

std::uint64_t PageStore::drop(PageRef page) {
  if (!counted(page)) return 0;
  const std::unique_lock lock(mutex_);
  Slot& held = live_slot(page, "unref");
  if (held.references == 0) broken("unref", page);
  return --held.references == 0 ? cost(held) : 0;
}

void PageStore::undrop(PageRef page) {
  if (!counted(page)) return;
  const std::unique_lock lock(mutex_);
  ++live_slot(page, "undrop").references;
}

void PageStore::sweep(PageRef page) {
  const std::unique_lock lock(mutex_);
  Slot& dead = live_slot(page, "sweep");
  if (dead.references != 0) return;
  PageRef* link = &bucket(dead.key);
  while (*link != page) link = &slot(*link).next;
  *link = dead.next;

  --stats_.pages;
  stats_.bytes_in_use -= cost(dead);
  stats_.incompressible -= dead.incompressible ? 1 : 0;
  if (dead.stored != kPageBytes) {
    --stats_.compressed_pages;
    stats_.compressed_bytes -= PageArena::cell_bytes(dead.stored);
    forget_inflated(page);
  }
  arena_->release(dead.cell);
  dead = Slot{};
  dead.next = free_slots_;
  free_slots_ = page;
}

bool PageStore::read(PageRef page, std::size_t offset, std::span<std::byte> out, Place* place) const {
  if (offset > kPageBytes || out.size() > kPageBytes - offset) return false;
  if (page == kZeroPage) {
    std::fill(out.begin(), out.end(), std::byte{0});
    return true;
  }
  const std::shared_lock lock(mutex_);
  return read_locked(page, offset, out, place);
}

void PageStore::prefetch(Place place, std::size_t offset, std::size_t bytes) const {
  if (offset < kPageBytes) walkers::prefetch_lines(arena_->at(place) + offset, std::min(bytes, kPageBytes - offset));
}

bool PageStore::read_locked(PageRef page, std::size_t offset, std::span<std::byte> out, Place* place) const {
  if (!alive(page)) return false;
  const Slot& source = slot(page);
  const std::byte* bytes = arena_->at(source.cell);
  if (source.stored == kPageBytes) {
    std::copy_n(bytes + offset, out.size(), out.begin());
    if (place != nullptr) *place = source.cell;
    return true;
  }
  const std::lock_guard guard(inflated_->mutex);
  const std::size_t entry = page % kInflatedPages;
  auto& inflated = inflated_->bytes[entry];
  if (inflated_->page[entry] != page) {
    inflated_->page[entry] = 0;
    if (ZSTD_decompressDCtx(inflated_->context, inflated.data(), kPageBytes, bytes, source.stored) != kPageBytes) return false;
    inflated_->page[entry] = page;
  }
  std::copy_n(inflated.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
  return true;
}

void PageStore::forget_inflated(PageRef page) const {
  const std::lock_guard guard(inflated_->mutex);
  PageRef& cached = inflated_->page[page % kInflatedPages];
  if (cached == page) cached = 0;
}

void PageStore::set_epoch(std::uint32_t epoch) {
  const std::unique_lock lock(mutex_);
  epoch_ = epoch;
}

std::size_t PageStore::compress_cold(std::uint32_t before_epoch, std::size_t max_pages) {
  std::size_t tried = 0;
  PageRef looked_at = 0;
  for (bool more = true; more;) {
    const std::unique_lock lock(mutex_);
    for (std::size_t batch = 0; more && batch < kScanBatch; ++batch) {
      if (tried >= max_pages || looked_at++ >= used_slots_) {
        more = false;
        break;
      }
      cursor_ = cursor_ + 1 < used_slots_ ? cursor_ + 1 : 1;
      if (!alive(cursor_)) continue;
      const Slot& candidate = slot(cursor_);
      if (candidate.stored != kPageBytes || candidate.incompressible || candidate.epoch >= before_epoch) continue;
      ++tried;
      more = compress(cursor_);
      break;  // give waiting readers their turn after each page
    }
  }
  return tried;
}

// False when the arena has no cell for the result.
bool PageStore::compress(PageRef page) {
  Slot& target = slot(page);
  auto& output = compressor_->output;
  const std::size_t stored =
      ZSTD_compressCCtx(compressor_->context, output.data(), kCompressedMax, arena_->at(target.cell), kPageBytes, options_.zstd_level);
  if (ZSTD_isError(stored)) {
    target.incompressible = true;
    ++stats_.incompressible;
    return true;
  }
  const PageArena::Cell cell = arena_->allocate(stored);
  if (cell == PageArena::kNoCell) return false;
  std::memcpy(arena_->at(cell), output.data(), stored);
  arena_->release(target.cell);
  stats_.bytes_in_use -= cost(target);
  target.cell = cell;
  target.stored = static_cast<std::uint16_t>(stored);
  stats_.bytes_in_use += cost(target);
  ++stats_.compressed_pages;
  stats_.compressed_bytes += PageArena::cell_bytes(stored);
  return true;
}

void PageStore::reserve(std::uint64_t pages) {
  const std::unique_lock lock(mutex_);
  arena_->reserve(pages * kPageBytes);
}

PageStore::Stats PageStore::stats() const {
  const std::shared_lock lock(mutex_);
  Stats stats = stats_;
  stats.arena_bytes = arena_->committed() + table_bytes();
  return stats;
}

std::uint64_t PageStore::bytes_in_use() const {
  const std::shared_lock lock(mutex_);
  return stats_.bytes_in_use;
}

std::uint64_t PageStore::bytes_held_alone(std::span<const PageRef> pages) const {
  const std::shared_lock lock(mutex_);
  std::uint64_t bytes = 0;
  for (const PageRef page : pages)
    if (held_alone(page)) bytes += cost(slot(page));
  return bytes;
}

PageStore::Held PageStore::held_without(std::span<const PageRef> pages) const {
  const std::shared_lock lock(mutex_);
  Held held;
  held.index_bytes = stats_.pages * kTableBytesPerPage;
  held.compressed_bytes = stats_.compressed_bytes;
  held.raw_bytes = stats_.bytes_in_use - held.index_bytes - held.compressed_bytes;
  for (const PageRef page : pages) {
    if (!held_alone(page)) continue;
    (slot(page).stored == kPageBytes ? held.raw_bytes : held.compressed_bytes) -= PageArena::cell_bytes(slot(page).stored);
    held.index_bytes -= kTableBytesPerPage;
  }
  return held;
}

PageRef PageStore::ref_limit() const {
  const std::shared_lock lock(mutex_);
  return used_slots_;
}

}  // namespace floe::freeze
