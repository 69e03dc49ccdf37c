// What the host's performance counters count of each vCPU, while it is in its guest and at no other time.
//
// The counters of a vCPU are one group of perf events on its thread, the host's side excluded: they are on the CPU together or not at all,
// so ratios between them hold even where several users share the hardware, and one system call reads them at one moment. What was counted
// is of `time_running_ns` out of `time_enabled_ns` that the thread ran; where the first is less, the whole is estimated by the ratio.
//
// Hosts without such counters (most virtual machines) have none of it, and why() says so.
#pragma once

#include <linux/perf_event.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe::vmm {

class Vm;

struct PerfEvent {
  const char* name;
  std::uint32_t type;    // perf_event_attr.type
  std::uint64_t config;  // and .config
};

// cycles, instructions, cache misses, branch misses: in this order in PerfCounts.
inline constexpr std::array<PerfEvent, 4> kHardwareEvents = {{
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {"cache misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    {"branch misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES},
}};

struct PerfCounts {
  std::array<std::uint64_t, kHardwareEvents.size()> counts{};  // as they are, not scaled
  std::uint64_t time_enabled_ns = 0;
  std::uint64_t time_running_ns = 0;
};

// The counters of one thread.
class ThreadPerf {
 public:
  // From now on, also while the thread sleeps. Error: which event this host does not count, and why.
  static Result<ThreadPerf> open(pid_t thread, const std::array<PerfEvent, 4>& events = kHardwareEvents);

  // Absent: the kernel did not give all of them, or has never had room for them in its counters. Allocates nothing; one system call.
  std::optional<PerfCounts> read() const;

 private:
  std::array<UniqueFd, kHardwareEvents.size()> events_;  // the first leads the group
};

// Those of a machine's vCPUs.
class VcpuPerf {
 public:
  // After Vm::start(). Of a vCPU whose thread has ended the counters stand still.
  void open(Vm& vm);

  // Why there are none; empty: there are.
  const std::string& why() const { return why_; }
  std::size_t vcpus() const { return threads_.size(); }

  // For frozen time too: allocates nothing. `vcpu` is below vcpus().
  std::optional<PerfCounts> read(std::size_t vcpu) const { return threads_[vcpu].read(); }

 private:
  std::vector<ThreadPerf> threads_;
  std::string why_ = "not counted";
};

}  // namespace floe::vmm
