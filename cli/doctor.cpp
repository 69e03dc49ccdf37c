// `floe doctor`: what this host can do, by trying it, with the fix for what it cannot.
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/flags.hpp"
#include "cli/host.hpp"
#include "cli/json.hpp"
#include "cli/kernels.hpp"
#include "cli/version.hpp"
#include "engine/engine.hpp"
#include "freeze/dirty_source.hpp"
#include "vmm/probe.hpp"
#include "vmm/queue_event.hpp"
#include "vmm/vm.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

struct Check {
  std::string name;
  bool good = false;
  bool needed = true;  // for `floe run` to work here at all
  std::string found;
  std::string fix;  // when not good
};

Check check_cpu(const HostFacts& host) {
  Check check{"CPU virtualization",
              host.cpu_virtualizes,
              false,
              host.cpu_virtualizes ? host.cpu_flag : "neither vmx nor svm among the CPU's flags",
              {}};
  if (!check.good)
    check.fix = "guests run inside a QEMU machine (--host tcg), some 20 times slower; in a VM, ask for nested virtualization";
  return check;
}

Check check_kvm(const HostFacts& host) {
  Check check{"/dev/kvm", !host.kvm_problem, false, {}, {}};
  if (check.good)
    check.found = fmt::format("runs a tiny guest ({} us to its first instruction's effect){}", host.tiny_guest.count(),
                              host.cpu_virtualizes ? "" : "; a software KVM: too slow for Linux, used for tests");
  else
    check.found = *host.kvm_problem;
  return check;
}

Check check_qemu(const HostFacts& host) {
  return {"qemu-system-x86_64", !host.qemu.empty(), false, host.qemu.empty() ? "not in PATH" : host.qemu,
          "sudo apt install qemu-system-x86 (only needed without VT-x/AMD-V)"};
}

Check check_host(const HostFacts& host) {
  const auto mode = choose_host(HostMode::kAuto, host);
  return {
      "--host auto", mode.has_value(), true,
      mode ? (*mode == HostMode::kKvm ? "kvm: this machine's own" : "tcg: a QEMU machine with an emulated CPU") : "no way to run a guest",
      mode ? "" : mode.error().message};
}

Check check_ring() {
  const auto loop = engine::loop::create();
  return {"io_uring", loop.has_value(), true, loop ? (*loop)->features() : "not available", loop ? "" : loop.error().message};
}

Check check_kernel() {
  const auto kernel = default_kernel();
  return {"guest kernel", kernel.has_value(), false, kernel ? *kernel : "none", "run scripts/fetch-kernel, or give --kernel FILE"};
}

Check check_outer_kernel(const HostFacts& host) {
  const auto kernel = outer_kernel();
  return {"kernel of the outer machine", kernel.has_value() || host.cpu_virtualizes, false,
          kernel ? kernel->image : "none with KVM modules", "run scripts/fetch-kernel (only needed for --host tcg)"};
}

// The one a guest on this host's KVM would use. Inside an outer machine the choice is made there.
Check check_dirty_source() {
  Check check{"dirty pages", false, false, {}, {}};
  auto vm = vmm::Vm::create({.cpus = 1, .memory_bytes = 2 << 20});
  freeze::DirtySourceOptions options;
  std::unique_ptr<vmm::GuestRam> own;
  vmm::GuestRam* ram = nullptr;
  if (vm) {
    options.kvm_fd = (*vm)->kvm_fd();
    options.vm_fd = (*vm)->fd();
    ram = &(*vm)->ram();
  } else {
    auto made = vmm::GuestRam::create(2 << 20);
    if (!made) {
      check.found = made.error().message;
      return check;
    }
    own = std::move(*made);
    ram = own.get();
  }
  const auto chosen = freeze::choose_dirty_source(*ram, options);
  check.good = chosen.has_value();
  check.found = chosen ? chosen->source->name() : chosen.error().message;
  return check;
}

// How floe sees a word of a running guest change.
Check check_watches(const HostFacts& host) {
  Check check{"write watches", false, false, "polled", {}};
  if (host.kvm_problem) return check;
  const auto fire = vmm::write_watches_fire();
  check.good = fire && *fire;
  check.found = check.good ? "hardware, for a scheduler's end and three variables (a latch is polled): a tiny guest's write to a watched "
                             "word is told at once"
                : fire     ? "polled every few milliseconds: this KVM takes watches by debug register, and they never fire"
                           : "polled: " + fire.error().message;
  return check;
}

Check check_notifications() {
  const unsigned cpus = vmm::usable_cpus();
  const char* how = vmm::notify_by_event(cpus) ? "events, served beside the guest" : "exits of the vCPU, since there is one CPU for both";
  return {"notifications of port 1", true, false, fmt::format("{} ({} CPU{} usable)", how, cpus, cpus == 1 ? "" : "s"), {}};
}

Check check_memory() {
  const auto meminfo = read_text("/proc/meminfo");
  const auto at = meminfo ? meminfo->find("MemAvailable:") : std::string::npos;
  const std::uint64_t mib = at == std::string::npos ? 0 : std::strtoull(meminfo->c_str() + at + 13, nullptr, 10) / 1024;
  return {"available memory", mib >= 1024, true, fmt::format("{} MiB", mib),
          "a guest of 512 MiB with its ring needs about 1 GiB, inside an outer machine 3 GiB"};
}

void print_text(const std::vector<Check>& checks) {
  const bool colour = ::isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR");
  for (const Check& check : checks) {
    const char* mark = check.good ? "ok" : check.needed ? "NO" : "--";
    const char* paint = !colour ? "" : check.good ? "\033[32m" : check.needed ? "\033[31m" : "\033[33m";
    fmt::print("{}{:>4}{}  {:<28} {}\n", paint, mark, colour ? "\033[0m" : "", check.name, check.found);
    if (!check.good && !check.fix.empty()) fmt::print("{:>36}{}\n", "", "fix: " + check.fix);
  }
}

void print_json(const std::vector<Check>& checks) {
  json::array list;
  for (const Check& check : checks)
    list.push_back(
        {{"name", check.name}, {"ok", check.good}, {"needed", check.needed}, {"found", check.found}, {"fix", check.good ? "" : check.fix}});
  const json::object document{{"schema", "floe-doctor/1"}, {"version", kVersion}, {"checks", list}};
  fmt::print("{}", pretty_json(document));
}

Verdict doctor(std::vector<std::string> words) {
  bool as_json = false;
  Flags flags("Tries what floe needs on this host, and tells the fix for what is missing. Exit code 71 when no guest can run here.",
              "floe doctor");
  flags.add("--json", as_json, "machine-readable");
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  const HostFacts host = examine_host();
  const std::vector<Check> checks = {
      check_host(host),         check_cpu(host),      check_kvm(host),     check_qemu(host),      check_ring(),  check_kernel(),
      check_outer_kernel(host), check_dirty_source(), check_watches(host), check_notifications(), check_memory()};
  if (as_json)
    print_json(checks);
  else
    print_text(checks);
  for (const Check& check : checks)
    if (check.needed && !check.good) return {Exit::kHostCannot, check.name + ": " + (check.fix.empty() ? check.found : check.fix)};
  return {};
}

const bool registered = register_command({"doctor", "what this host can do, with fixes", doctor});

}  // namespace
}  // namespace floe::cli
