#include "cli/host.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "base/file.hpp"
#include "vmm/kvm.hpp"
#include "vmm/probe.hpp"

namespace floe::cli {
namespace {

std::string virtualization_flag() {
  const auto cpuinfo = read_text("/proc/cpuinfo");
  if (!cpuinfo) return {};
  std::istringstream lines(*cpuinfo);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;)
      if (word == "svm" || word == "vmx") return word;
    break;
  }
  return {};
}

constexpr const char* kInstallQemu = "install QEMU for --host tcg (sudo apt install qemu-system-x86)";

}  // namespace

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

HostFacts examine_host() {
  HostFacts facts;
  facts.cpu_flag = virtualization_flag();
  facts.cpu_virtualizes = !facts.cpu_flag.empty();
  facts.qemu = find_program("qemu-system-x86_64");
  const auto device = vmm::kvm::open_device();
  if (!device) {
    facts.kvm_problem = device.error().message;
    facts.kvm_denied = device.error().code == EACCES || device.error().code == EPERM;
    return facts;
  }
  const auto tiny = vmm::run_tiny_guest();
  if (tiny)
    facts.tiny_guest = *tiny;
  else
    facts.kvm_problem = tiny.error().message;
  return facts;
}

Result<HostMode> choose_host(HostMode wanted, const HostFacts& facts) {
  if (wanted == HostMode::kKvm) {
    if (facts.kvm_problem) return fail("--host kvm: " + *facts.kvm_problem);
    return HostMode::kKvm;
  }
  if (wanted == HostMode::kTcg) {
    if (facts.qemu.empty()) return fail(std::string("--host tcg needs qemu-system-x86_64, which is not in PATH: ") + kInstallQemu);
    return HostMode::kTcg;
  }
  // A CPU that can virtualize is never quietly replaced by an emulated one: that would be a hundred times slower.
  if (facts.cpu_virtualizes) {
    if (!facts.kvm_problem) return HostMode::kKvm;
    return fail("this CPU has " + facts.cpu_flag + ", but its KVM cannot be used: " + *facts.kvm_problem +
                " (or ask for --host tcg, which is much slower)");
  }
  if (!facts.qemu.empty()) return HostMode::kTcg;
  return fail(std::string("this machine's CPU offers neither vmx nor svm, and there is no qemu-system-x86_64 in PATH: ") + kInstallQemu);
}

}  // namespace floe::cli
