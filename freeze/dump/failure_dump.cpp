#include "freeze/dump/failure_dump.hpp"

#include <fmt/format.h>

#include "freeze/core_export.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/vcpu_perf.hpp"
#include "freeze/snapshot_memory.hpp"

namespace floe::freeze::dump {
namespace {

constexpr std::uint32_t kStall = 1026;  // SCX_EXIT_ERROR_STALL
constexpr std::uint32_t kError = 1024;  // SCX_EXIT_ERROR

Report report_or_placeholder(const SnapshotView& view, const FailureSource& source) {
  auto report = report_of(view, source);
  return report ? std::move(*report) : placeholder(report.error().message);
}

// What the kernel said of the end, put into the dump of an instant before it.
void add_exit(Report& report, const SchedulerFailure& failure, const std::optional<Report>& late) {
  if (report.exit_info) return;
  report.exit_info_unavailable.reset();
  if (late && late->exit_info) {
    report.exit_info = *late->exit_info;
  } else if (!failure.reason.empty()) {
    walkers::scx::ExitInfo& exit = report.exit_info.emplace();
    exit.kind = failure.stall ? kStall : kError;
    exit.reason = failure.reason;
    exit.msg = failure.message;
  } else {
    return;
  }
  report.reasons.push_back({"exit_info", fmt::format("of snapshot {}, after this one", failure.shown_by)});
}

}  // namespace

Result<Report> report_of(const SnapshotView& view, const FailureSource& source) {
  const RingMemory memory(view, *source.layout);
  walkers::OpenOptions how;
  how.previous = source.kernel;
  if (!view.machine().vcpus.empty()) how.cr3 = view.machine().vcpus.front().cr3;
  if (source.deadline.count() > 0) how.deadline = walkers::WalkBudget::Clock::now() + source.deadline;
  const auto kernel = walkers::Kernel::open(memory, how);
  if (!kernel) return fail(kernel.error());
  CollectOptions options;
  options.deadline = source.deadline;
  options.casts = source.casts;
  options.capture.source = "snapshot";
  options.capture.sequence = view.meta().sequence;
  options.capture.tick = view.meta().tick;
  options.capture.realtime_ns = view.meta().realtime_ns;
  options.capture.guest_clock_ns = view.meta().guest_clock_ns;
  if (source.events != nullptr) options.events = source.events->before(view.meta().sequence);
  for (const auto& vcpu : view.machine().vcpus) options.cpus.push_back(registers_of(vcpu));
  auto perf = vcpu_perf_of(view.machine());
  options.vcpu_perf = std::move(perf.by_vcpu);
  options.vcpu_perf_unavailable = std::move(perf.unavailable);
  return collect(*kernel, options);
}

FailureDump make_failure_dump(const SchedulerFailure& failure, const FailureSource& source) {
  FailureDump made;
  const SnapshotView* const main = source.before != nullptr ? source.before : source.late;
  if (main == nullptr) {
    made.main = placeholder("the snapshots that showed the failure are not there any more");
    return made;
  }
  if (source.late != nullptr && source.late != main) made.late = report_or_placeholder(*source.late, source);
  made.main = report_or_placeholder(*main, source);
  add_exit(made.main, failure, made.late);
  return made;
}

}  // namespace floe::freeze::dump
