#include "freeze/dump/text_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "freeze/dump/fields.hpp"
#include "freeze/dump/schema.hpp"
#include "freeze/dump/text_map.hpp"
#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {
namespace {

constexpr const char* kGlyphs[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::size_t kConstant = 4;  // glyph of a value that does not change

class Sections {
 public:
  void add(std::string section) {
    if (section.empty()) return;
    if (!text_.empty()) text_ += "\n\n";
    text_ += section;
  }
  void missing(const char* name, const std::optional<std::string>& reason) {
    if (reason) add(fmt::format("{}: <unavailable: {}>", name, clean(*reason)));
  }
  bool empty() const { return text_.empty(); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string vcpus_text(const std::vector<std::optional<VcpuRegs>>& vcpus) {
  std::string out = "vcpu_regs:";
  for (std::size_t i = 0; i < vcpus.size(); ++i) out += fmt::format("\n  vcpu {}: {}", i, vcpus[i] ? to_text(*vcpus[i]) : "<unavailable>");
  return out;
}

std::string timeline_text(const std::vector<walkers::scx::EventCounters>& samples) {
  std::string out =
      fmt::format("event_counter_timeline: {} samples ({}–{}ms)", samples.size(), samples.front().elapsed_ms, samples.back().elapsed_ms);
  schema::for_each_field<walkers::scx::EventCounters>([&](const auto& field) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(samples.front().*field.member)>, std::int64_t>) {
      std::vector<std::int64_t> values;
      for (const auto& sample : samples) values.push_back(sample.*field.member);
      if (std::all_of(values.begin(), values.end(), [](std::int64_t v) { return v == 0; })) return;
      out += fmt::format("\n  {:>30}  {}  (last={})", field.key, sparkline(values), values.back());
    }
  });
  return out;
}

std::string scx_text(const Report& report) {
  if (report.rq_scx_states.empty() && report.dsq_states.empty() && !report.scx_sched_state) return "";
  return fmt::format("scx_walker: rq_scx={} dsq={} sched={}", report.rq_scx_states.size(), report.dsq_states.size(),
                     report.scx_sched_state ? "captured" : "absent");
}

std::string truncation_text(const Report& report) {
  if (!report.dump_truncated_at_us && report.maps_truncated == 0) return "";
  std::string out = "dump truncated:";
  if (report.dump_truncated_at_us) out += fmt::format(" deadline crossed at {}us", *report.dump_truncated_at_us);
  if (report.maps_truncated > 0) out += fmt::format(" ({} map(s) skipped)", report.maps_truncated);
  return out;
}

std::string captured(const char* name, std::size_t count, const char* what) {
  return count == 0 ? "" : fmt::format("{}: {} {} captured", name, count, what);
}

}  // namespace

std::string to_text(const Report& report) {
  Sections out;
  out.add(summary_text(report));
  for (const auto& map : report.maps) out.add(to_text(map));
  if (!report.vcpu_regs.empty()) out.add(vcpus_text(report.vcpu_regs));
  for (const auto& allocator : report.sdt_allocations) out.add(to_text(allocator));
  if (!report.scx_static_ranges.ranges.empty() || report.scx_static_ranges.skipped > 0) out.add(to_text(report.scx_static_ranges));
  if (!report.prog_runtime_stats.empty()) {
    std::string programs = "prog_runtime_stats:";
    for (const auto& stats : report.prog_runtime_stats) programs += "\n  " + to_text(stats);
    out.add(programs);
  }
  out.missing("prog_runtime_stats", report.prog_runtime_stats_unavailable);
  out.add(captured("per_cpu_time", report.per_cpu_time.size(), "CPUs"));
  out.add(captured("per_node_numa", report.per_node_numa.size(), "nodes"));
  out.missing("per_node_numa", report.per_node_numa_unavailable);
  out.add(captured("task_enrichments", report.task_enrichments.size(), "tasks"));
  out.missing("task_enrichments", report.task_enrichments_unavailable);
  out.add(scx_text(report));
  out.missing("scx_walker", report.scx_walker_unavailable);
  if (!report.event_counter_timeline.empty()) out.add(timeline_text(report.event_counter_timeline));
  if (!report.vcpu_perf_at_freeze.empty()) {
    std::string perf = "vcpu_perf_at_freeze:";
    for (std::size_t i = 0; i < report.vcpu_perf_at_freeze.size(); ++i) {
      const auto& sample = report.vcpu_perf_at_freeze[i];
      perf += fmt::format("\n  vcpu {}: {}", i, sample ? to_text(*sample) : "<unavailable>");
    }
    out.add(perf);
  }
  out.add(truncation_text(report));
  return out.empty() ? "(empty failure dump)" : out.take();
}

std::string to_text(const DualReport& report) {
  std::string early = "absent";
  if (report.early && report.early_max_age_jiffies == 0 && report.early_threshold_jiffies == 0)
    early = "present (jiffies not captured)";
  else if (report.early)
    early = fmt::format("present (max_age={}j, threshold={}j)", report.early_max_age_jiffies, report.early_threshold_jiffies);
  else if (report.early_skipped_reason)
    early = fmt::format("absent ({})", clean(*report.early_skipped_reason));
  std::string out = fmt::format("DualFailureDumpReport: early={}, late=({} maps, {} vcpu_regs)\n\n", early, report.late.maps.size(),
                                report.late.vcpu_regs.size());
  if (report.early)
    return out + "early snapshot (sched_ext watchdog half-way):\n" + to_text(*report.early) + "\n\nlate snapshot (error-exit):\n" +
           to_text(report.late);
  const std::string why =
      report.early_skipped_reason
          ? fmt::format("early snapshot absent: {}", clean(*report.early_skipped_reason))
          : "no early snapshot: it failed before the half-way threshold, or the scan could not be set up; the debug log "
            "has more";
  return out + fmt::format("late snapshot (error-exit; {}):\n", why) + to_text(report.late);
}

std::string to_text(const DegradedReport& report) {
  std::string out = fmt::format("degraded failure dump:\n  reason: {}\n", clean(report.reason));
  if (!report.vcpu_regs.empty()) {
    const auto parked = std::count_if(report.vcpu_regs.begin(), report.vcpu_regs.end(), [](const auto& regs) { return regs.has_value(); });
    out += fmt::format("  vcpus_parked: {}/{}\n", parked, report.vcpu_regs.size());
    for (std::size_t i = 0; i < report.vcpu_regs.size(); ++i)
      out += fmt::format("    vcpu {}: {}\n", i, report.vcpu_regs[i] ? "parked, " + to_text(*report.vcpu_regs[i]) : "not_parked");
  }
  out += fmt::format("  watchpoint_hit: {}\n  bss_latch_state: {}\n", report.watchpoint_hit, clean(report.bss_latch_state));
  if (report.exit_kind) out += fmt::format("  exit_kind: {}\n", *report.exit_kind);
  if (report.elapsed_ms) out += fmt::format("  elapsed_ms: {}\n", report.elapsed_ms);
  return out;
}

std::string to_text(const AnyReport& report) {
  return std::visit([](const auto& shape) { return to_text(shape); }, report);
}

std::string to_text(const VcpuRegs& regs) {
  std::string out =
      fmt::format("ip={:#018x} sp={:#018x} ptroot={:#018x}", regs.instruction_pointer, regs.stack_pointer, regs.page_table_root);
  if (regs.user_page_table_root) out += fmt::format(" uptroot={:#018x}", *regs.user_page_table_root);
  if (regs.symbol) out += " " + clean(*regs.symbol);
  return out;
}

std::string to_text(const walkers::bpf::ProgRuntimeStats& stats) {
  std::string out = fmt::format("{}: cnt={} nsecs={} misses={}", clean(stats.name), stats.cnt, stats.nsecs, stats.misses);
  const auto runs = static_cast<double>(stats.cnt);
  const auto misses = static_cast<double>(stats.misses);
  if (stats.cnt > 0) out += fmt::format(" ns/call={:.3f}", static_cast<double>(stats.nsecs) / runs);
  if (stats.misses > 0) out += fmt::format(" miss_rate={:.4f}", misses / (runs + misses));
  return out;
}

std::string to_text(const VcpuPerf& perf) {
  const double ipc = perf.cycles == 0 ? 0 : static_cast<double>(perf.instructions) / static_cast<double>(perf.cycles);
  return fmt::format("cycles={} insns={} ipc={:.3f} cache_misses={} branch_misses={} (en/ru={}/{} ns)", perf.cycles, perf.instructions, ipc,
                     perf.cache_misses, perf.branch_misses, perf.time_enabled_ns, perf.time_running_ns);
}

std::string sparkline(const std::vector<std::int64_t>& values) {
  if (values.empty()) return "";
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const std::int64_t low = std::max<std::int64_t>(*least, 0);
  const std::int64_t high = std::max<std::int64_t>(*most, 0);
  std::string out;
  for (const std::int64_t value : values) {
    const auto above = static_cast<unsigned __int128>(std::max<std::int64_t>(value, 0) - low);
    const std::size_t flat = high == 0 ? 0 : kConstant;
    out += kGlyphs[high == low ? flat : static_cast<std::size_t>(above * 7 / static_cast<std::uint64_t>(high - low))];
  }
  return out;
}

}  // namespace floe::freeze::dump
