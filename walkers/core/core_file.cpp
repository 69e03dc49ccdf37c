#include "walkers/core/core_file.hpp"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.hpp"

namespace floe::walkers::core {
namespace {

// A file that is all holes and data by turns must not make a list as long as itself.
constexpr std::size_t kMaxRanges = 1 << 20;

bool in_procfs(int fd) {
  struct statfs info{};
  return ::fstatfs(fd, &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

tl::unexpected<Error> cannot_open(Error error, const std::string& path) {
  if (path == kKcorePath && error.code == ENOENT) error.message += " (the kernel is built without CONFIG_PROC_KCORE)";
  if (path == kKcorePath && (error.code == EPERM || error.code == EACCES))
    error.message += " (it takes root with CAP_SYS_RAWIO, and a kernel that is not locked down)";
  return fail(std::move(error));
}

void add_range(std::vector<PhysRange>& ranges, std::uint64_t start, std::uint64_t bytes) {
  if (!ranges.empty() && (ranges.back().start.value + ranges.back().bytes == start || ranges.size() >= kMaxRanges))
    ranges.back().bytes = start + bytes - ranges.back().start.value;
  else
    ranges.push_back({Gpa(start), bytes});
}

}  // namespace

Result<std::shared_ptr<const CoreFile>> CoreFile::open(const std::string& path) {
  const auto file = std::shared_ptr<CoreFile>(new CoreFile);
  file->path_ = path;
  auto fd = open_regular(path, file->file_bytes_);
  if (!fd) return cannot_open(std::move(fd.error()), path);
  file->fd_ = std::move(*fd);
  // Its size is that of the address space, and not up to date.
  file->live_ = in_procfs(file->fd_.get());
  if (file->live_) file->file_bytes_ = std::uint64_t{1} << 62;
  auto headers = read_headers(file->fd_.get(), file->file_bytes_);
  if (!headers) return fail(std::move(headers.error()).within(path));
  file->headers_ = std::move(*headers);
  // NT_PRSTATUS of /proc/kcore is all zero (fs/proc/kcore.c).
  if (file->live_) file->headers_.notes.cpus.clear();
  if (!file->live_) file->blocks_ = std::vector<Block>(kBlocks);
  return std::shared_ptr<const CoreFile>(file);
}

std::size_t CoreFile::read(const Extents& extents, std::uint64_t address, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t at = address + done;
    if (at < address) break;
    const Extent* const extent = extents.find(at);
    if (extent == nullptr) break;
    const auto part = out.subspan(done, std::min<std::uint64_t>(out.size() - done, extent->end() - at));
    std::size_t got = part.size();
    if (extent->zeroes())
      std::fill(part.begin(), part.end(), std::byte{0});
    else
      got = read_file(extent->offset + (at - extent->start), part);
    done += got;
    if (got < part.size()) break;
  }
  return done;
}

std::size_t CoreFile::read_file(std::uint64_t offset, std::span<std::byte> out) const {
  if (live_) return read_at(fd_.get(), offset, out);
  std::size_t done = 0;
  while (done < out.size()) {
    const auto part = std::min<std::size_t>(out.size() - done, kBlockBytes - (offset + done) % kBlockBytes);
    const std::size_t got = read_block(offset + done, out.subspan(done, part));
    done += got;
    if (got < part) {
      note_short(offset + done);
      break;
    }
  }
  return done;
}

// Within one block.
std::size_t CoreFile::read_block(std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t number = offset / kBlockBytes;
  const std::size_t inside = offset % kBlockBytes;
  Block& block = blocks_[number % kBlocks];
  const std::lock_guard lock(block.mutex);
  if (block.number != number) {
    if (!block.bytes) block.bytes = std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
    block.filled = read_at(fd_.get(), number * kBlockBytes, std::span(block.bytes.get(), kBlockBytes));
    block.number = number;
  }
  if (inside >= block.filled) return 0;
  const auto got = std::min(out.size(), block.filled - inside);
  std::memcpy(out.data(), block.bytes.get() + inside, got);
  return got;
}

void CoreFile::note_short(std::uint64_t offset) const {
  const std::lock_guard lock(problem_mutex_);
  if (problem_.empty())
    problem_ = fmt::format("{} cannot be read at {:#x}; it had {} bytes when it was opened", path_, offset, file_bytes_);
}

std::string CoreFile::problem() const {
  const std::lock_guard lock(problem_mutex_);
  return problem_;
}

std::vector<PhysRange> CoreFile::populated(const Extents& extents) const {
  std::vector<PhysRange> ranges;
  for (const Extent& extent : extents.all()) {
    if (extent.zeroes()) continue;
    const std::uint64_t end = extent.offset + extent.bytes;
    for (std::uint64_t at = extent.offset; at < end;) {
      // Whoever cannot tell holes (EINVAL, /proc/kcore) has data everywhere; ENXIO: holes up to the end of the file.
      const off_t data = live_ ? -1 : ::lseek(fd_.get(), static_cast<off_t>(at), SEEK_DATA);
      if (!live_ && data < 0 && errno == ENXIO) break;
      const off_t hole = data < 0 ? -1 : ::lseek(fd_.get(), data, SEEK_HOLE);
      const std::uint64_t first = data < 0 ? at : static_cast<std::uint64_t>(data);
      const std::uint64_t last = hole < 0 ? end : std::min(end, static_cast<std::uint64_t>(hole));
      if (first >= end) break;
      // Whole pages, since a page of the guest may begin in a hole of the file.
      const std::uint64_t page = std::max(extent.offset, first - (first - extent.offset) % kPageBytes);
      const std::uint64_t page_end = std::min(end, extent.offset + page_ceil(last - extent.offset));
      add_range(ranges, extent.start + (page - extent.offset), page_end - page);
      at = std::max(page_end, at + 1);
    }
  }
  return ranges;
}

std::string CoreKernelMemory::explain(Kva kva) const {
  if (file_->headers().kernel.find(kva.value) == nullptr) return fmt::format("{:#x}: not in the core", kva.value);
  return fmt::format("{:#x}: its bytes cannot be read from {}", kva.value, file_->path());
}

}  // namespace floe::walkers::core
