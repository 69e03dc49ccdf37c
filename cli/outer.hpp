// --host tcg: the same floe, the same machine, inside a QEMU machine whose emulated CPU has AMD-V, for hosts without VT-x/AMD-V.
//
// floe packs itself, the guest's kernel and initramfs, and a stock kernel's KVM modules into an initramfs; QEMU boots that stock kernel
// with floe as its init; the inner floe loads the modules, runs the guest on the emulated /dev/kvm, and sends everything it would
// write or print over a virtio port (cli/link.hpp). The run's folder on this host grows during the run. QEMU dies with floe, also by
// SIGKILL. An outer machine that has nothing to say for too long (--outer-silence) is killed: what an emulated machine does when its only
// CPU never comes back from its guest cannot be told from outside. An outer machine that dies before the guest's hello is started once
// more, loudly, and counted in the manifest.
#pragma once

#include "cli/exit.hpp"
#include "cli/guest_run.hpp"
#include "cli/host.hpp"
#include "cli/kernels.hpp"
#include "cli/link.hpp"

namespace floe::cli {

class OuterRun {
 public:
  // `plan` and `folder` outlive it.
  OuterRun(const RunPlan& plan, const HostFacts& host, RunFolder& folder);
  ~OuterRun();

  // Runs to the end. The inner floe writes the manifest; where it could not, manifest_written() is false.
  engine::task<Verdict> run();

  // From the same thread, at the first signal.
  void interrupt(int signal_number);

  // A line of the control socket, answered by the inner floe.
  engine::task<std::string> ask(std::string request);

  bool manifest_written() const { return manifest_written_; }
  unsigned retries() const { return retries_; }

 private:
  struct Trip;  // one QEMU, from start to end
  engine::task<> travel(Trip& trip);
  engine::task<> read_console(Trip& trip);
  engine::task<> watch_process(Trip& trip);
  engine::task<> stop_when_asked(Trip& trip);
  engine::task<> backstop(Trip& trip);
  engine::task<> keep_awake(Trip& trip);
  engine::task<> notice_silence(Trip& trip);
  Result<> start(Trip& trip);
  std::vector<std::string> qemu_arguments(const Trip& trip) const;
  std::vector<std::string> inner_arguments() const;
  Result<std::vector<std::byte>> pack() const;

  const RunPlan& plan_;
  const HostFacts& host_;
  RunFolder& folder_;
  engine::mailbox<int> signals_;
  link::LinkServer* link_ = nullptr;  // of the machine that is running
  std::optional<int> interrupted_;
  std::vector<std::byte> initramfs_;
  StockKernel kernel_;  // the outer machine's own
  unsigned retries_ = 0;
  bool manifest_written_ = false;
};

// The other end: floe as /init of the outer machine. Never returns.
[[noreturn]] void outer_init();

}  // namespace floe::cli
