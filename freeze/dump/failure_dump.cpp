#include "freeze/dump/failure_dump.hpp"

#include <fmt/format.h>

#include "freeze/core_export.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/text_report.hpp"
#include "freeze/dump/vcpu_perf.hpp"
#include "freeze/snapshot_memory.hpp"
#include "walkers/scx/sched.hpp"

namespace floe::freeze::dump {
namespace {

constexpr std::uint32_t kStall = 1026;  // SCX_EXIT_ERROR_STALL
constexpr std::uint32_t kError = 1024;  // SCX_EXIT_ERROR
constexpr std::uint64_t kExitSteps = 100'000;

Report report_or_placeholder(const SnapshotView& view, const DumpSource& source) {
  auto report = report_of(view, source);
  return report ? std::move(*report) : placeholder(report.error().message);
}

walkers::OpenOptions opening(const SnapshotView& view, const DumpSource& source) {
  walkers::OpenOptions how;
  how.previous = source.kernel;
  if (!view.machine().vcpus.empty()) how.cr3 = view.machine().vcpus.front().cr3;
  if (source.deadline.count() > 0) how.deadline = walkers::WalkBudget::Clock::now() + source.deadline;
  return how;
}

// What the kernel said of the end, and which snapshot has it; number 0: the log.
struct Said {
  walkers::scx::ExitInfo exit;
  std::uint64_t sequence = 0;
};

std::optional<Said> said_in(const SnapshotView& view, const DumpSource& source) {
  const RingMemory memory(view, *source.layout);
  const auto kernel = walkers::Kernel::open(memory, opening(view, source));
  if (!kernel) return std::nullopt;
  const auto layout = walkers::scx::Layout::of(*kernel);
  walkers::WalkBudget budget(kExitSteps);
  walkers::scx::Walk walk(*kernel, layout, budget);
  auto exit = walkers::scx::exit_info(walk);
  if (!exit || !walkers::scx::is_error(exit->kind)) return std::nullopt;
  return Said{std::move(*exit), view.meta().sequence};
}

// The kernel's words in full are in the snapshot after the first that shows the end, when that was quick; in the log they are short.
std::optional<Said> kernels_words(const FailureCapture& captured, const SchedulerFailure& failure, const Report& late,
                                  const DumpSource& source) {
  if (late.exit_info && !late.exit_info->msg.empty()) return Said{*late.exit_info, captured.late()->meta().sequence};
  if (captured.after())
    if (auto said = said_in(*captured.after(), source); said && !said->exit.msg.empty()) return said;
  if (failure.reason.empty()) return std::nullopt;
  Said said;
  said.exit.kind = walkers::scx::exit_kind_of(failure.reason).value_or(failure.stall ? kStall : kError);
  if (late.exit_info) said.exit = *late.exit_info;
  said.exit.reason = failure.reason;
  said.exit.msg = failure.message;
  return said;
}

// Put into the dump of an instant that does not have them: one before, or one after the kernel had forgotten.
void add_exit(Report& report, const std::optional<Said>& said) {
  if (!said || report.is_placeholder || (report.exit_info && !report.exit_info->msg.empty())) return;
  report.exit_info_unavailable.reset();
  report.exit_info = said->exit;
  report.reasons.push_back(
      {"exit_info", said->sequence == 0 ? "from the kernel's log" : fmt::format("of snapshot {}, after this one", said->sequence)});
}

// The longest wait of the reports, told by the one that has it.
void tell_stuck(FailureDump& dump, const Report& report) {
  if (dump.stuck.empty()) dump.stuck = stuck_text(report);
}

void add_sibling(FailureDump& dump, std::string_view tag, AnyReport report) {
  dump.files.push_back({sibling_name(tag), std::move(report)});
}

void add_failure(FailureDump& dump, const FailureCapture& captured, const SchedulerFailure& failure, const DumpSource& source) {
  Report late = report_or_placeholder(*captured.late(), source);
  const auto said = kernels_words(captured, failure, late, source);
  add_exit(late, said);
  DualReport dual;
  std::optional<Report> before;
  if (captured.before() && captured.before() != captured.late() && captured.before() != captured.early()) {
    before = report_or_placeholder(*captured.before(), source);
    add_exit(*before, said);
    tell_stuck(dump, *before);
  }
  tell_stuck(dump, late);
  if (captured.late_degraded()) {  // a snapshot after the one that could not be taken; the main dump says why
    add_sibling(dump, "after-late-degraded", std::move(late));
    if (before) add_sibling(dump, "before", std::move(*before));
    return;
  }
  if (captured.early()) dual.early = report_or_placeholder(*captured.early(), source);
  if (dual.early) tell_stuck(dump, *dual.early);
  dual.late = std::move(late);
  dual.early_max_age_jiffies = captured.early_age();
  dual.early_threshold_jiffies = captured.early_threshold();
  dual.early_skipped_reason = captured.early_skipped_reason();
  dump.files.push_back({kMainName, std::move(dual)});
  if (before) add_sibling(dump, "before", std::move(*before));
}

}  // namespace

std::string sibling_name(std::string_view tag, std::string_view main_name) {
  constexpr std::string_view kMark = ".failure-dump";
  const auto dot = main_name.rfind('.');
  const std::string_view extension = dot == main_name.npos || dot == 0 ? std::string_view() : main_name.substr(dot);
  std::string stem(main_name.substr(0, main_name.size() - extension.size()));
  if (stem.ends_with(kMark)) stem.resize(stem.size() - kMark.size());
  if (stem.empty() || stem.front() == '.') stem = "dump";
  std::string clean(tag);
  for (char& c : clean) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!plain) c = '_';
  }
  return fmt::format("{}.snapshot.{}{}", stem, clean, extension);
}

std::vector<std::optional<VcpuRegs>> registers_at_gate(const Take& take) {
  std::vector<std::optional<VcpuRegs>> registers;
  for (const AtGate& vcpu : take.at_gate) {
    auto& regs = registers.emplace_back();
    if (vcpu.parked) regs = VcpuRegs{vcpu.rip, vcpu.rsp, vcpu.cr3, std::nullopt, std::nullopt, std::nullopt};
  }
  return registers;
}

DegradedReport degraded_report(const Captured& capture) {
  DegradedReport report;
  report.reason = capture.reason;
  report.vcpu_regs = registers_at_gate(capture.take);
  report.watchpoint_hit = capture.words.hit;
  report.bss_latch_state = to_string(capture.words.latch);
  report.exit_kind = capture.words.exit_kind;
  report.elapsed_ms = capture.take.meta.pause_us / 1000;
  return report;
}

Result<Report> report_of(const SnapshotView& view, const DumpSource& source) {
  const RingMemory memory(view, *source.layout);
  const auto kernel = walkers::Kernel::open(memory, opening(view, source));
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

FailureDump make_failure_dump(const FailureCapture& captured, const SchedulerWatch& watch, const DumpSource& source) {
  FailureDump dump;
  const bool shown = captured.late() != nullptr;
  const auto& lost = captured.late_degraded();
  if (lost) dump.files.push_back({kMainName, degraded_report(*lost)});
  if (shown) add_failure(dump, captured, watch.failure().value_or(SchedulerFailure()), source);
  if (!captured.early()) {
    if (captured.early_degraded()) add_sibling(dump, "early-degraded", degraded_report(*captured.early_degraded()));
    return dump;
  }
  if (shown && !lost) return dump;  // it is in the dual dump
  const char* tag = lost ? "early-pre-late-degraded" : captured.early_left() ? "early-only-late-suppressed" : "early-only-late-never-fired";
  Report early = report_or_placeholder(*captured.early(), source);
  tell_stuck(dump, early);
  add_sibling(dump, tag, std::move(early));
  return dump;
}

}  // namespace floe::freeze::dump
