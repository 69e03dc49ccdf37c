// A whole report as text: first what a scheduler's developer asks (what happened, which task is stuck, where, for how long), then section
// by section what was found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "freeze/dump/model.hpp"

namespace floe::freeze::dump {

std::string to_text(const Report& report);
std::string to_text(const DualReport& report);
std::string to_text(const DegradedReport& report);
std::string to_text(const AnyReport& report);

// The sections that answer "what happened", without the data behind them; empty when the report knows nothing of it.
std::string summary_text(const Report& report);

// One line: the exit's reason, the stuck task, its DSQ and for how long. Empty when nothing is known to be wrong.
std::string reason_line(const Report& report);

// "longest wait: worker[41] has been runnable for 5.120 s, on DSQ 0x2a (user)"; empty when nobody waits.
std::string stuck_text(const Report& report);

// A task with all that the report says of it; nothing when no task has that pid.
std::optional<std::string> task_text(const Report& report, std::int32_t pid);

// --- pieces ---

std::string to_text(const VcpuRegs& regs);
std::string to_text(const walkers::bpf::ProgRuntimeStats& stats);
std::string to_text(const VcpuPerf& perf);
std::string sparkline(const std::vector<std::int64_t>& values);
std::string age_text(std::uint64_t jiffies, const std::optional<Capture>& capture);       // "5.120 s", or "1280 jiffies"
std::string dsq_text(std::uint64_t id, const std::vector<walkers::scx::DsqState>& dsqs);  // "DSQ 0x1 (user)"

}  // namespace floe::freeze::dump
