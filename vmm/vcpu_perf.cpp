#include "vmm/vcpu_perf.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.hpp"
#include "vmm/vm.hpp"

namespace floe::vmm {
namespace {

// What a group's leader gives for PERF_FORMAT_GROUP and both times: perf_event_open(2), "Reading results".
struct GroupRead {
  std::uint64_t events;
  std::uint64_t time_enabled;
  std::uint64_t time_running;
  std::array<std::uint64_t, kHardwareEvents.size()> counts;
};

// A leader of -1 makes the event lead.
Result<UniqueFd> open_event(const PerfEvent& event, pid_t thread, int leader) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = event.type;
  attr.config = event.config;
  attr.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  attr.exclude_host = 1;
  attr.disabled = leader < 0;  // the members count when their leader does
  const auto fd = ::syscall(SYS_perf_event_open, &attr, thread, -1, leader, PERF_FLAG_FD_CLOEXEC);
  if (fd >= 0) return UniqueFd(static_cast<int>(fd));
  const int error = errno;
  const std::string what = std::string("this host does not count ") + event.name;
  if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV)
    return fail(Error(error, what + ": its CPU, or the machine it runs in, offers no such performance counter"));
  if (error == EACCES || error == EPERM) {
    const auto level = read_text("/proc/sys/kernel/perf_event_paranoid", 16);
    return fail(Error(error, what + " for this user: /proc/sys/kernel/perf_event_paranoid is " +
                                 (level ? level->substr(0, level->find('\n')) : "unreadable") + ", 1 or less would do, or CAP_PERFMON"));
  }
  return fail_errno(error, what);
}

}  // namespace

Result<ThreadPerf> ThreadPerf::open(pid_t thread, const std::array<PerfEvent, 4>& events) {
  ThreadPerf perf;
  for (std::size_t n = 0; n < events.size(); ++n) {
    auto fd = open_event(events[n], thread, n == 0 ? -1 : perf.events_[0].get());
    if (!fd) return fail(std::move(fd.error()));
    perf.events_[n] = std::move(*fd);
  }
  if (::ioctl(perf.events_[0].get(), PERF_EVENT_IOC_ENABLE, 0) != 0) return fail_errno(errno, "starting performance counters");
  return perf;
}

std::optional<PerfCounts> ThreadPerf::read() const {
  GroupRead group{};
  if (::read(events_[0].get(), &group, sizeof group) != sizeof group || group.events != group.counts.size()) return std::nullopt;
  if (group.time_running == 0 && group.time_enabled != 0) return std::nullopt;
  return PerfCounts{group.counts, group.time_enabled, group.time_running};
}

void VcpuPerf::open(Vm& vm) {
  threads_.clear();
  why_.clear();
  for (unsigned i = 0; i < vm.cpus() && why_.empty(); ++i) {
    auto thread = ThreadPerf::open(vm.vcpu(i).thread_id());
    if (thread)
      threads_.push_back(std::move(*thread));
    else
      why_ = std::move(thread.error().message);
  }
  if (!why_.empty()) threads_.clear();
}

}  // namespace floe::vmm
