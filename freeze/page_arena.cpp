#include "freeze/page_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace floe::freeze {
namespace {

constexpr std::uint64_t kHugePage = 2 << 20;

// Steps of 64 bytes up to 512, of 128 up to 1536, of 256 up to 3072, then whole pages: at most a seventh is lost.
constexpr std::size_t kSteps64 = 8, kSteps128 = 8, kSteps256 = 6;
constexpr std::size_t kPageClass = kSteps64 + kSteps128 + kSteps256;

// False when there is no memory for it. Kernels before 5.14 cannot say so: there, the pages are touched one by one.
bool prefault(std::byte* start, std::uint64_t bytes) {
  ::madvise(start, bytes, MADV_HUGEPAGE);
  if (::madvise(start, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (std::uint64_t at = 0; at < bytes; at += kPageBytes) *reinterpret_cast<volatile std::byte*>(start + at) = std::byte{0};
  return true;
}

}  // namespace

std::size_t PageArena::class_of(std::size_t bytes) {
  if (bytes <= 512) return bytes == 0 ? 0 : (bytes - 1) / 64;
  if (bytes <= 1536) return kSteps64 + (bytes - 513) / 128;
  if (bytes <= 3072) return kSteps64 + kSteps128 + (bytes - 1537) / 256;
  return kPageClass;
}

std::size_t PageArena::class_bytes(std::size_t size_class) {
  if (size_class < kSteps64) return (size_class + 1) * 64;
  if (size_class < kSteps64 + kSteps128) return 512 + (size_class - kSteps64 + 1) * 128;
  if (size_class < kPageClass) return 1536 + (size_class - kSteps64 - kSteps128 + 1) * 256;
  return kPageBytes;
}

std::size_t PageArena::cell_bytes(std::size_t bytes) {
  return class_bytes(class_of(bytes));
}

Result<std::unique_ptr<PageArena>> PageArena::create(std::uint64_t limit) {
  static_assert(kPageClass < kClasses);
  if (limit > kMaxBytes) return fail("a page store of " + std::to_string(limit >> 30) + " GiB: at most 255 GiB are possible");
  auto arena = std::unique_ptr<PageArena>(new PageArena);
  // One huge page more than asked, so that the first byte can be aligned.
  arena->reserved_ = (limit + 2 * kHugePage - 1) / kHugePage * kHugePage;
  void* base = ::mmap(nullptr, arena->reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return fail_errno(errno, "reserving " + std::to_string(limit >> 20) + " MiB of address space for the page store");
  const auto start = reinterpret_cast<std::uintptr_t>(base);
  const std::uint64_t skip = (kHugePage - start % kHugePage) % kHugePage;
  if (skip > 0) ::munmap(base, skip);
  arena->base_ = static_cast<std::byte*>(base) + skip;
  arena->reserved_ -= skip;
  arena->limit_ = limit;
  std::fill(std::begin(arena->partial_), std::end(arena->partial_), kNoSpan);
  return arena;
}

PageArena::~PageArena() {
  if (base_) ::munmap(base_, reserved_);
}

void PageArena::set_limit(std::uint64_t bytes) {
  limit_ = std::min(bytes, reserved_);
}

bool PageArena::grow(std::uint64_t bytes) {
  const std::uint64_t have = committed();
  if (limit_ <= have) return false;
  bytes = std::min(bytes, limit_ - have) / kSpanBytes * kSpanBytes;
  if (bytes == 0 || ::mprotect(base_ + have, bytes, PROT_READ | PROT_WRITE) != 0 || !prefault(base_ + have, bytes)) return false;
  const auto first = static_cast<std::uint32_t>(spans_.size());
  spans_.resize(spans_.size() + bytes / kSpanBytes);
  for (auto span = static_cast<std::uint32_t>(spans_.size()); span-- > first;) link(free_, span);
  free_spans_ += bytes / kSpanBytes;
  return true;
}

void PageArena::reserve(std::uint64_t bytes) {
  const std::uint64_t free_bytes = free_spans_ * kSpanBytes;
  if (free_bytes < bytes) grow((bytes - free_bytes + kSpanBytes - 1) / kSpanBytes * kSpanBytes);
}

void PageArena::link(std::uint32_t& head, std::uint32_t span) {
  spans_[span].previous = kNoSpan;
  spans_[span].next = head;
  if (head != kNoSpan) spans_[head].previous = span;
  head = span;
}

void PageArena::unlink(std::uint32_t& head, std::uint32_t span) {
  const Span& gone = spans_[span];
  if (gone.next != kNoSpan) spans_[gone.next].previous = gone.previous;
  if (gone.previous != kNoSpan)
    spans_[gone.previous].next = gone.next;
  else
    head = gone.next;
}

std::uint32_t PageArena::take_span(std::size_t size_class) {
  if (free_ == kNoSpan && !grow(kChunkBytes)) return kNoSpan;
  const std::uint32_t span = free_;
  unlink(free_, span);
  --free_spans_;
  spans_[span] = Span{};
  spans_[span].size_class = static_cast<std::uint8_t>(size_class);
  link(partial_[size_class], span);
  return span;
}

PageArena::Cell PageArena::allocate(std::size_t bytes) {
  const std::size_t size_class = class_of(bytes);
  std::uint32_t at = partial_[size_class];
  if (at == kNoSpan) at = take_span(size_class);
  if (at == kNoSpan) return kNoCell;
  Span& span = spans_[at];
  std::uint16_t index = span.free_head;
  if (index != kNoFree)
    std::memcpy(&span.free_head, cell_at(at, index), sizeof span.free_head);
  else
    index = span.fresh++;
  if (++span.live == capacity(size_class)) unlink(partial_[size_class], at);
  return static_cast<Cell>((cell_at(at, index) - base_) / kUnit);
}

void PageArena::release(Cell cell) {
  const std::uint64_t offset = std::uint64_t{cell} * kUnit;
  const auto at = static_cast<std::uint32_t>(offset / kSpanBytes);
  Span& span = spans_[at];
  const std::size_t size_class = span.size_class;
  const auto index = static_cast<std::uint16_t>(offset % kSpanBytes / class_bytes(size_class));
  if (span.live == capacity(size_class)) link(partial_[size_class], at);
  std::memcpy(cell_at(at, index), &span.free_head, sizeof span.free_head);
  span.free_head = index;
  if (--span.live > 0) return;
  unlink(partial_[size_class], at);
  link(free_, at);
  ++free_spans_;
}

}  // namespace floe::freeze
