#include "engine/ring.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/may_block.hpp"
#include "engine/doctor.hpp"

namespace floe::engine {

std::string explain_missing_ring(int error, const std::string& io_uring_disabled) {
  switch (error) {
    case ENOSYS:
      return "this kernel offers no io_uring: floe needs Linux 5.19 or later built with CONFIG_IO_URING (inside a container, the seccomp "
             "profile may hide it: allow io_uring_setup, io_uring_enter and io_uring_register)";
    case EPERM:
    case EACCES:
      if (io_uring_disabled == "2") {
        return "io_uring is switched off for everybody (kernel.io_uring_disabled=2): run `sysctl -w kernel.io_uring_disabled=0` as root";
      }
      if (io_uring_disabled == "1") {
        return "io_uring is allowed to one group only (kernel.io_uring_disabled=1): join the group in kernel.io_uring_group, or run "
               "`sysctl -w kernel.io_uring_disabled=0` as root";
      }
      return "io_uring is refused although the sysctl allows it: a seccomp profile or security module forbids it; in a container, allow "
             "io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt seccomp=...)";
    case ENOMEM:
      return "io_uring could not lock its memory: raise the limit of locked memory (`ulimit -l`), older kernels charge rings to it";
    case EMFILE:
    case ENFILE:
      return "no file descriptor is left for an io_uring: raise `ulimit -n`";
    default:
      return std::string("io_uring could not be set up: ") + std::strerror(error);
  }
}

namespace detail {
namespace {

std::string read_io_uring_disabled() {
  std::ifstream file("/proc/sys/kernel/io_uring_disabled");
  std::string text;
  file >> text;
  return text;
}

// From the best set-up to the plainest. SINGLE_ISSUER and DEFER_TASKRUN came with 6.1, COOP_TASKRUN with 5.19.
// Without the indirection array (6.6) the kernel saves a load and a bounds check per submission.
constexpr unsigned kSetupNoSqarray = 1U << 16;  // IORING_SETUP_NO_SQARRAY
constexpr std::array kSetups = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | kSetupNoSqarray,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0U,
};

struct getevents_arg {  // struct io_uring_getevents_arg
  std::uint64_t sigmask = 0;
  std::uint32_t sigmask_size = 0;
  std::uint32_t min_wait_usec = 0;
  std::uint64_t timeout = 0;
};

struct kernel_timespec {  // struct __kernel_timespec
  std::int64_t seconds;
  std::int64_t nanoseconds;
};

kernel_timespec to_timespec(nanos at) {
  return {at / 1'000'000'000, at % 1'000'000'000};
}

nanos monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * nanos{1'000'000'000} + now.tv_nsec;
}

}  // namespace

ring::~ring() {
  if (open_) io_uring_queue_exit(&ring_);
}

Result<> ring::open(unsigned entries, unsigned completions) {
  int error = 0;
  io_uring_params params{};
  for (const unsigned flags : kSetups) {
    params = {};
    params.flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = completions;
    error = -io_uring_queue_init_params(entries, &ring_, &params);
    if (error != EINVAL) break;
  }
  if (error != 0) return fail(Error(error, explain_missing_ring(error, read_io_uring_disabled())));
  open_ = true;
  completions_ = {ring_.cq.khead, ring_.cq.ktail, ring_.cq.cqes, ring_.cq.ring_mask};
  if ((ring_.features & IORING_FEAT_EXT_ARG) == 0) {
    return fail(Error(ENOSYS, "this kernel's io_uring cannot wait with a timeout (IORING_FEAT_EXT_ARG): floe needs Linux 5.19 or later"));
  }
  if ((ring_.features & kFeatNoIowait) != 0) enter_flags_ |= kEnterNoIowait;
  if (io_uring_probe* probe = io_uring_get_probe_ring(&ring_)) {
    for (unsigned opcode = 0; opcode <= probe->last_op && opcode < 64; ++opcode) {
      if ((probe->ops[opcode].flags & IO_URING_OP_SUPPORTED) != 0) opcodes_ |= std::uint64_t{1} << opcode;
    }
    io_uring_free_probe(probe);
  }
  if ((ring_.flags & kSetupNoSqarray) != 0) {
    restore_header(params);
  } else {
    // Entry i of the indirection array always names entry i, so submitting is one store of the tail.
    for (unsigned index = 0; index < ring_.sq.ring_entries; ++index) ring_.sq.array[index] = index;
  }
  return {};
}

// liburing before 2.4 does not know NO_SQARRAY and fills the array all the same: at offset 0, over the head of the ring. The ring is still
// disabled and empty, so its first state can be written back.
void ring::restore_header(const io_uring_params& params) {
  ring_.sq.ring_entries = params.sq_entries;
  ring_.sq.ring_mask = params.sq_entries - 1;
  ring_.cq.ring_entries = params.cq_entries;
  ring_.cq.ring_mask = params.cq_entries - 1;
  completions_.mask = ring_.cq.ring_mask;
  auto* const header = static_cast<std::byte*>(ring_.sq.ring_ptr);
  const auto put = [header](unsigned offset, unsigned value) { std::memcpy(header + offset, &value, sizeof value); };
  for (const unsigned offset : {params.sq_off.head, params.sq_off.tail, params.sq_off.flags, params.sq_off.dropped, params.cq_off.head,
                                params.cq_off.tail, params.cq_off.flags, params.cq_off.overflow}) {
    put(offset, 0);
  }
  put(params.sq_off.ring_mask, ring_.sq.ring_mask);
  put(params.cq_off.ring_mask, ring_.cq.ring_mask);
  put(params.sq_off.ring_entries, params.sq_entries);
  put(params.cq_off.ring_entries, params.cq_entries);
}

Result<> ring::enable() {
  if (enabled_) return {};
  // liburing 2.3 declares io_uring_enable_rings() but its library does not export it.
  if (syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) != 0) {
    return fail_errno(errno, "enable the io_uring");
  }
  enabled_ = true;
  // The registered descriptor saves a lookup per enter (three quarters of what set-up flags gain at depth 1). Linux 5.18.
  enter_fd_ = ring_.ring_fd;
  if (io_uring_register_ring_fd(&ring_) == 1) {
    enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    enter_fd_ = ring_.enter_ring_fd;
  }
  absolute_wait_ = probe_absolute_wait();
  return {};
}

Result<unsigned> ring::add_file(int fd) {
  if (!has_file_table_) {
    const std::vector<int> empty(kFixedFiles, -1);
    if (const int error = -io_uring_register_files(&ring_, empty.data(), kFixedFiles); error != 0) {
      return fail_errno(error, "register a table of files with io_uring");
    }
    has_file_table_ = true;
    for (unsigned place = kFixedFiles; place-- != 0;) free_places_.push_back(place);
  }
  if (free_places_.empty()) return fail(Error(ENFILE, "all " + std::to_string(kFixedFiles) + " places for fixed files are taken"));
  const unsigned place = free_places_.back();
  if (const int updated = io_uring_register_files_update(&ring_, place, &fd, 1); updated != 1) {
    return fail_errno(updated < 0 ? -updated : EINVAL, "put fd " + std::to_string(fd) + " into the table of fixed files");
  }
  free_places_.pop_back();
  return place;
}

void ring::remove_file(unsigned place) {
  const int none = -1;
  if (io_uring_register_files_update(&ring_, place, &none, 1) != 1) return;  // the file stays until the ring ends
  free_places_.push_back(place);
}

// A wait until a moment in the past ends at once with ETIME where absolute waits are known, with EINVAL where not.
bool ring::probe_absolute_wait() const {
  const kernel_timespec past{0, 1};
  getevents_arg arg;
  arg.timeout = reinterpret_cast<std::uint64_t>(&past);
  return enter(0, 1, enter_flags_ | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | kEnterAbsTimer, &arg, sizeof arg) == ETIME;
}

void ring::describe(submission_queue& queue) const {
  static_assert(sizeof(io_uring_sqe) == sizeof *queue.entries);
  queue.entries = reinterpret_cast<std::uint64_t(*)[8]>(ring_.sq.sqes);
  queue.mask = ring_.sq.ring_mask;
  queue.tail = *ring_.sq.khead;
  refresh(queue);
}

int ring::wait(submission_queue& queue, nanos deadline) {
  may_block("the ring was waited for");
  publish(queue);
  const unsigned flags = enter_flags_ | IORING_ENTER_GETEVENTS;
  int error = 0;
  if (deadline == kNever) {
    error = enter(unsubmitted(queue), 1, flags, nullptr, 0);
  } else {
    kernel_timespec until = to_timespec(absolute_wait_ ? deadline : std::max<nanos>(deadline - monotonic_now(), 0));
    getevents_arg arg;
    arg.timeout = reinterpret_cast<std::uint64_t>(&until);
    error = enter(unsubmitted(queue), 1, flags | IORING_ENTER_EXT_ARG | (absolute_wait_ ? kEnterAbsTimer : 0), &arg, sizeof arg);
  }
  refresh(queue);
  return error;
}

}  // namespace detail
}  // namespace floe::engine
