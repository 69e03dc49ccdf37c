#include "vmm/ram.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace floe::vmm {

Result<std::unique_ptr<GuestRam>> GuestRam::create(std::uint64_t bytes) {
  bytes = page_ceil(bytes);
  if (bytes == 0) return fail("guest RAM of 0 bytes: give --memory at least a few MiB");
  auto ram = std::unique_ptr<GuestRam>(new GuestRam);
  ram->fd_.reset(::memfd_create("floe-guest-ram", MFD_CLOEXEC));
  if (!ram->fd_) return fail_errno(errno, "memfd_create for guest RAM");
  if (::ftruncate(ram->fd_.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno(errno, "sizing guest RAM to " + std::to_string(bytes >> 20) + " MiB");
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram->fd_.get(), 0);
  if (base == MAP_FAILED) return fail_errno(errno, "mapping " + std::to_string(bytes >> 20) + " MiB of guest RAM");
  ram->base_ = static_cast<std::byte*>(base);
  ram->bytes_ = bytes;

  const std::uint64_t low = std::min(bytes, kLowRamMax);
  ram->regions_.push_back({Gpa(0), low, 0, ram->base_});
  if (bytes > low) ram->regions_.push_back({Gpa(kHighRamStart), bytes - low, low, ram->base_ + low});
  ram->written_ = std::vector<std::atomic<std::uint64_t>>((ram->pages() + 63) / 64);
  return ram;
}

GuestRam::~GuestRam() {
  if (base_) ::munmap(base_, bytes_);
}

std::span<std::byte> GuestRam::slice(Gpa gpa, std::uint64_t size) const {
  for (const RamRegion& region : regions_) {
    const std::uint64_t offset = gpa - region.start;  // wraps to huge when below the region
    if (offset < region.bytes && size <= region.bytes - offset) return {region.host + offset, static_cast<std::size_t>(size)};
  }
  return {};
}

bool GuestRam::read(Gpa gpa, std::span<std::byte> out) const {
  if (out.empty()) return true;
  const auto source = slice(gpa, out.size());
  if (source.empty()) return false;
  std::memcpy(out.data(), source.data(), out.size());
  return true;
}

bool GuestRam::write(Gpa gpa, std::span<const std::byte> data) {
  if (data.empty()) return true;
  const auto target = slice(gpa, data.size());
  if (target.empty()) return false;
  std::memcpy(target.data(), data.data(), data.size());
  mark_written(gpa, data.size());
  return true;
}

void GuestRam::mark_written(Gpa gpa, std::uint64_t size) {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (size == 0 || !page_index(gpa, first) || !page_index(gpa + (size - 1), last)) return;
  for (std::uint64_t page = first; page <= last; ++page)
    written_[page / 64].fetch_or(std::uint64_t{1} << (page % 64), std::memory_order_release);
}

Gpa GuestRam::page_gpa(std::uint64_t index) const {
  const std::uint64_t offset = index * kPageBytes;
  const RamRegion& region = offset < regions_.front().bytes ? regions_.front() : regions_.back();
  return region.start + (offset - region.offset);
}

bool GuestRam::page_index(Gpa gpa, std::uint64_t& index) const {
  for (const RamRegion& region : regions_) {
    const std::uint64_t offset = gpa - region.start;
    if (offset >= region.bytes) continue;
    index = (region.offset + offset) / kPageBytes;
    return true;
  }
  return false;
}

void GuestRam::take_written(std::span<std::uint64_t> into) {
  for (std::size_t word = 0; word < written_.size(); ++word)
    if (written_[word].load(std::memory_order_relaxed) != 0) into[word] |= written_[word].exchange(0, std::memory_order_acq_rel);
}

std::vector<GuestRam::PageRange> GuestRam::populated() const {
  std::vector<PageRange> ranges;
  off_t at = 0;
  while (static_cast<std::uint64_t>(at) < bytes_) {
    const off_t data = ::lseek(fd_.get(), at, SEEK_DATA);
    if (data < 0) break;  // ENXIO: only a hole is left
    off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
    if (hole < 0) hole = static_cast<off_t>(bytes_);
    ranges.push_back({static_cast<std::uint64_t>(data) / kPageBytes, static_cast<std::uint64_t>(hole - data) / kPageBytes});
    at = hole;
  }
  return ranges;
}

}  // namespace floe::vmm
