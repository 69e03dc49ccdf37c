#include "bench/engine/raw_ring.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bench/engine/bench.hpp"

namespace floe::bench {
namespace {

// Newer than Debian 12's header.
constexpr unsigned kSetupNoSqarray = 1U << 16;  // IORING_SETUP_NO_SQARRAY
constexpr unsigned kEnterNoIowait = 1U << 7;    // IORING_ENTER_NO_IOWAIT
constexpr unsigned kFeatNoIowait = 1U << 17;    // IORING_FEAT_NO_IOWAIT

template <class T>
T* at(void* base, unsigned offset) {
  return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}

}  // namespace

RawRing::RawRing(unsigned entries, unsigned completions) {
  const unsigned deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  for (const unsigned flags : {deferred | kSetupNoSqarray, deferred, unsigned{IORING_SETUP_COOP_TASKRUN}, 0U})
    if (set_up(entries, completions, flags)) return;
  require(false, "io_uring cannot be set up");
}

bool RawRing::set_up(unsigned entries, unsigned completions, unsigned flags) {
  io_uring_params params{};
  params.flags = flags | IORING_SETUP_CQSIZE;
  params.cq_entries = completions;
  fd_ = static_cast<int>(syscall(__NR_io_uring_setup, entries, &params));
  if (fd_ < 0) return false;
  rings_bytes_ =
      std::max(params.sq_off.array + params.sq_entries * sizeof(unsigned), params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  sqes_bytes_ = params.sq_entries * sizeof(io_uring_sqe);
  const int protection = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
  rings_ = mmap(nullptr, rings_bytes_, protection, how, fd_, IORING_OFF_SQ_RING);
  sqes_ = static_cast<io_uring_sqe*>(mmap(nullptr, sqes_bytes_, protection, how, fd_, IORING_OFF_SQES));
  require(rings_ != MAP_FAILED && sqes_ != MAP_FAILED && (params.features & IORING_FEAT_SINGLE_MMAP) != 0, "io_uring cannot be mapped");
  entries_ = params.sq_entries;
  sq_mask_ = params.sq_entries - 1;
  cq_mask_ = params.cq_entries - 1;
  sq_head_ = at<unsigned>(rings_, params.sq_off.head);
  sq_tail_ = at<unsigned>(rings_, params.sq_off.tail);
  cq_head_ = at<unsigned>(rings_, params.cq_off.head);
  cq_tail_ = at<unsigned>(rings_, params.cq_off.tail);
  cqes_ = at<io_uring_cqe>(rings_, params.cq_off.cqes);
  if ((flags & kSetupNoSqarray) == 0)
    for (unsigned index = 0; index < entries_; ++index) at<unsigned>(rings_, params.sq_off.array)[index] = index;
  enter_fd_ = fd_;
  enter_flags_ = IORING_ENTER_GETEVENTS | ((params.features & kFeatNoIowait) != 0 ? kEnterNoIowait : 0);
  io_uring_rsrc_update own{};
  own.offset = ~0U;
  own.data = static_cast<std::uint64_t>(fd_);
  if (syscall(__NR_io_uring_register, fd_, IORING_REGISTER_RING_FDS, &own, 1) == 1) {
    enter_fd_ = static_cast<int>(own.offset);
    enter_flags_ |= IORING_ENTER_REGISTERED_RING;
  }
  return true;
}

RawRing::~RawRing() {
  munmap(rings_, rings_bytes_);
  munmap(sqes_, sqes_bytes_);
  close(fd_);
}

void RawRing::check(long result) {
  require(result == -EINTR, "io_uring_enter failed");
}

}  // namespace floe::bench
