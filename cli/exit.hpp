// floe's exit codes: documented, never reused. See README.md and `floe run --help`.
#pragma once

#include <string>

namespace floe::cli {

enum class Exit : int {
  kPass = 0,         // also a clean unregister of the scheduler, or the duration reached
  kCheckFailed = 1,  // a check or COMMAND failed
  kUsage = 2,        // usage, or an input missing, unreadable or malformed
  kScheduler = 3,    // the scheduler did not load or attach, or exited in the error class
  kSkipped = 4,
  kStall = 5,
  kGuestPanic = 6,
  kNoHello = 7,        // the guest never reported in
  kDeadline = 8,       // any other deadline
  kBug = 70,           // floe's own
  kHostCannot = 71,    // the message says what to do
  kInterrupted = 130,  // SIGINT
  kTerminated = 143,   // SIGTERM
};

// How a command ends: one code and the one line that says why. The line goes last on stderr.
struct Verdict {
  Exit code = Exit::kPass;
  std::string reason;
};

// The verdict of a run that SIGINT or SIGTERM stopped.
Verdict stopped_by(int signal_number);

// Of two verdicts that both hold, the one that counts: 70 71 2 7 6 5 3 8 1 4 130/143 0.
Verdict worse(Verdict a, Verdict b);

// Prints the reason line (nothing for a pass without a reason) and returns the process's exit status.
int finish(const Verdict& verdict);

}  // namespace floe::cli
