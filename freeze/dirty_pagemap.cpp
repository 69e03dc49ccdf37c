// PAGEMAP_SCAN over a mapping registered for asynchronous userfaultfd write protection. Linux 6.7, fs/proc/task_mmu.c (do_pagemap_scan) and
// Documentation/admin-guide/mm/pagemap.rst; the numbers below are those of include/uapi/linux/fs.h and userfaultfd.h, which are newer than
// Debian 12's headers.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "base/fd.hpp"
#include "freeze/dirty_source.hpp"

namespace floe::freeze {
namespace {

struct PageRegion {  // struct page_region
  std::uint64_t start, end, categories;
};
struct PmScanArg {  // struct pm_scan_arg
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask,
      return_mask;
};
static_assert(sizeof(PageRegion) == 24 && sizeof(PmScanArg) == 96);

constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
constexpr std::uint64_t kScanWpMatching = 1 << 0;    // PM_SCAN_WP_MATCHING: write-protects what it reports, atomically per page
constexpr std::uint64_t kScanCheckWpAsync = 1 << 1;  // PM_SCAN_CHECK_WPASYNC: fails where nobody registered
constexpr std::uint64_t kPageIsWritten = 1 << 1;     // PAGE_IS_WRITTEN

constexpr std::uint64_t kFeatureWpShmem = 1 << 12;        // UFFD_FEATURE_WP_HUGETLBFS_SHMEM, 5.19
constexpr std::uint64_t kFeatureWpUnpopulated = 1 << 13;  // UFFD_FEATURE_WP_UNPOPULATED, 6.4
constexpr std::uint64_t kFeatureWpAsync = 1 << 15;        // UFFD_FEATURE_WP_ASYNC, 6.7
constexpr int kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY: no privilege needed; asynchronous protection never asks user space

constexpr std::size_t kRegions = 4096;

class PagemapScan final : public DirtySource {
 public:
  explicit PagemapScan(vmm::GuestRam& ram) : ram_(ram), exists_((ram.pages() + 63) / 64), regions_(kRegions) {}

  const char* name() const override { return "pagemap-scan"; }

  Result<> open() {
    pagemap_.reset(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!pagemap_) return fail_errno(errno, "opening /proc/self/pagemap");
    uffd_.reset(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
    if (!uffd_) return fail_errno(errno, "userfaultfd");
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = kFeatureWpShmem | kFeatureWpUnpopulated | kFeatureWpAsync;
    if (::ioctl(uffd_.get(), UFFDIO_API, &api) != 0)
      return fail_errno(errno, "this kernel has no asynchronous write protection (Linux 6.7 has): UFFDIO_API");
    uffdio_register request{};
    request.range = {reinterpret_cast<std::uintptr_t>(ram_.page(0)), ram_.bytes()};
    request.mode = UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(uffd_.get(), UFFDIO_REGISTER, &request) != 0) return fail_errno(errno, "registering guest RAM for write protection");
    return {};
  }

  Result<> arm() override {
    return scan([](std::uint64_t) {});
  }

  Result<> collect(std::span<std::uint64_t> into) override {
    return scan([this, into](std::uint64_t page) {
      if (exists(page)) into[page / 64] |= std::uint64_t{1} << (page % 64);
    });
  }

 private:
  template <class Written>
  Result<> scan(Written written) {
    const auto base = reinterpret_cast<std::uintptr_t>(ram_.page(0));
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.flags = kScanWpMatching | kScanCheckWpAsync;
    arg.end = base + ram_.bytes();
    arg.vec = reinterpret_cast<std::uintptr_t>(regions_.data());
    arg.vec_len = regions_.size();
    arg.category_mask = arg.return_mask = kPageIsWritten;
    for (std::uint64_t at = base; at < arg.end; at = arg.walk_end) {
      arg.start = at;
      const int found = ::ioctl(pagemap_.get(), kPagemapScan, &arg);
      if (found < 0 && errno == EINTR) {
        arg.walk_end = at;
        continue;
      }
      if (found < 0) return fail_errno(errno, "PAGEMAP_SCAN of guest RAM");
      for (int n = 0; n < found; ++n)
        for (std::uint64_t address = regions_[n].start; address < regions_[n].end; address += kPageBytes)
          written((address - base) / kPageBytes);
      if (arg.walk_end <= at) return fail("PAGEMAP_SCAN of guest RAM does not advance");
    }
    return {};
  }

  // A table entry that is still empty counts as written when its neighbours exist (it has no mark yet). Copying such a page would
  // create it, so the file is asked, once per page that exists.
  bool exists(std::uint64_t page) {
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if (exists_[page / 64] & bit) return true;
    const auto offset = static_cast<off_t>(page * kPageBytes);
    if (::lseek(ram_.fd(), offset, SEEK_DATA) != offset) return false;
    exists_[page / 64] |= bit;
    return true;
  }

  vmm::GuestRam& ram_;
  UniqueFd pagemap_;
  UniqueFd uffd_;
  std::vector<std::uint64_t> exists_;
  std::vector<PageRegion> regions_;
};

}  // namespace

Result<std::unique_ptr<DirtySource>> create_pagemap_scan(vmm::GuestRam& ram) {
  auto source = std::make_unique<PagemapScan>(ram);
  if (auto opened = source->open(); !opened) return fail(std::move(opened).error());
  return source;
}

}  // namespace floe::freeze
