// Guest RAM: one memfd mapped shared, placed in guest-physical space around the hole below 4 GiB.
//
// Offset in the file == offset in the mapping; the first kLowRamMax bytes sit at gpa 0, the rest at gpa 4 GiB. Every access is
// bounds-checked against the regions; writes made through this class are recorded in a bitmap, since KVM's dirty log does not
// see what the VMM itself writes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe::vmm {

inline constexpr std::uint64_t kLowRamMax = 0xC000'0000;       // 3 GiB: the MMIO hole starts here
inline constexpr std::uint64_t kHighRamStart = 0x1'0000'0000;  // 4 GiB

struct RamRegion {
  Gpa start;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;   // of the region's first byte in the memfd and in the mapping
  std::byte* host = nullptr;  // of the region's first byte
};

class GuestRam {
 public:
  // `bytes` is rounded up to pages. Errors: ENOMEM and the like from memfd_create, ftruncate, mmap.
  static Result<std::unique_ptr<GuestRam>> create(std::uint64_t bytes);
  ~GuestRam();
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  std::span<const RamRegion> regions() const { return regions_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t pages() const { return bytes_ / kPageBytes; }
  int fd() const { return fd_.get(); }

  // The host bytes behind [gpa, gpa + size), empty when any of it is not RAM of one region. For reading, or for writing
  // followed by mark_written().
  std::span<std::byte> slice(Gpa gpa, std::uint64_t size) const;

  // False, and nothing copied, when any of the range is not RAM. Ranges may not straddle the hole.
  bool read(Gpa gpa, std::span<std::byte> out) const;
  bool write(Gpa gpa, std::span<const std::byte> data);
  void mark_written(Gpa gpa, std::uint64_t size);

  // Page index <-> address. Page n is the n-th page of the memfd; index order is address order.
  std::byte* page(std::uint64_t index) const { return base_ + index * kPageBytes; }
  Gpa page_gpa(std::uint64_t index) const;
  bool page_index(Gpa gpa, std::uint64_t& index) const;

  // Moves the set of pages written through write()/mark_written() since the last call into `into` (one bit a page, by page
  // index, OR-ed). `into` holds at least (pages() + 63) / 64 words. Safe against concurrent writers.
  void take_written(std::span<std::uint64_t> into);

  // Ranges of the memfd that are populated (SEEK_DATA), as page indexes [first, first + count). Never touches a hole.
  struct PageRange {
    std::uint64_t first = 0, count = 0;
  };
  std::vector<PageRange> populated() const;

 private:
  GuestRam() = default;

  UniqueFd fd_;
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::vector<RamRegion> regions_;
  std::vector<std::atomic<std::uint64_t>> written_;
};

}  // namespace floe::vmm
