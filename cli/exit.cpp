#include "cli/exit.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "cli/json.hpp"

namespace floe::cli {
namespace {

constexpr std::array kOrder = {Exit::kBug,         Exit::kHostCannot, Exit::kUsage,    Exit::kNoHello,     Exit::kGuestPanic,
                               Exit::kStall,       Exit::kScheduler,  Exit::kDeadline, Exit::kCheckFailed, Exit::kSkipped,
                               Exit::kInterrupted, Exit::kTerminated, Exit::kPass};

auto rank(Exit code) {
  return std::find(kOrder.begin(), kOrder.end(), code);
}

}  // namespace

Verdict stopped_by(int signal_number) {
  if (signal_number == SIGTERM) return {Exit::kTerminated, "stopped by SIGTERM"};
  return {Exit::kInterrupted, "stopped by SIGINT"};
}

Verdict worse(Verdict a, Verdict b) {
  return rank(b.code) < rank(a.code) ? b : a;
}

int finish(const Verdict& verdict) {
  if (!verdict.reason.empty()) fmt::print(stderr, "floe: {}\n", printable(verdict.reason));
  return static_cast<int>(verdict.code);
}

}  // namespace floe::cli
