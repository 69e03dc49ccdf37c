// What this host offers for running guests, and which of it a run uses.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "cli/run_options.hpp"

namespace floe::cli {

struct HostFacts {
  bool cpu_virtualizes = false;            // svm or vmx among the CPU's flags
  std::string cpu_flag;                    // which
  std::optional<std::string> kvm_problem;  // why /dev/kvm cannot be opened, or why a tiny guest does not run
  bool kvm_denied = false;                 // it exists, but not for this user
  std::chrono::microseconds tiny_guest{};  // from creating a machine to its first port write
  std::string qemu;                        // path of qemu-system-x86_64, or empty
};

// Looks and tries: runs a tiny guest if /dev/kvm opens.
HostFacts examine_host();

// "kvm" or "tcg" for this run. Error: the host cannot (exit code 71), with what to do.
Result<HostMode> choose_host(HostMode wanted, const HostFacts& facts);

// A program in PATH, or empty.
std::string find_program(const std::string& name);

}  // namespace floe::cli
