// A virtual machine without devices: RAM, in-kernel interrupt chips and timer, vCPUs with their CPUID, and the buses that
// device models are put on. What a kernel needs beyond that is added by Pc (pc.hpp); a test may run its own code on the bare one.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "vmm/irq.hpp"
#include "vmm/ram.hpp"
#include "vmm/vcpu.hpp"

namespace floe::vmm {

struct VmOptions {
  unsigned cpus = 1;
  std::uint64_t memory_bytes = 0;
};

class Vm {
 public:
  // Errors: no usable /dev/kvm (says why), too many vCPUs, not enough memory.
  static Result<std::unique_ptr<Vm>> create(const VmOptions& options);
  ~Vm();
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  int fd() const { return vm_.get(); }
  int kvm_fd() const { return kvm_.get(); }
  // Until the vCPUs start, whoever wants to be told of hits says so.
  DebugRegisters& debug_registers() { return debug_registers_; }
  GuestRam& ram() { return *ram_; }
  const GuestRam& ram() const { return *ram_; }
  Bus& ports() { return ports_; }
  Bus& mmio() { return mmio_; }
  IrqRouting& irqs() { return *irqs_; }
  unsigned cpus() const { return static_cast<unsigned>(vcpus_.size()); }
  Vcpu& vcpu(unsigned index) { return *vcpus_[index]; }
  const Vcpu& vcpu(unsigned index) const { return *vcpus_[index]; }
  std::uint32_t memory_slot(std::size_t region) const { return static_cast<std::uint32_t>(region); }  // KVM slot of ram().regions()[region]

  // Starts every vCPU thread. `on_event` runs on vCPU threads and must not block.
  void start(std::function<void(const VcpuEvent&)> on_event);
  // Ends every vCPU thread, wherever it is, and joins it. Idempotent.
  void stop();
  bool running() const { return running_; }

  // Stops every vCPU (gate.hpp) and returns when the guest's memory stands still (true) or the deadline passed (false). Either way the
  // guest stays frozen until thaw(). One caller at a time; allocates nothing. See freeze/frozen.hpp for the scope that owns frozen time.
  bool stop_vcpus(Clock::time_point deadline);
  // Asked every few milliseconds while vCPUs are waited for; true gives them up before the deadline. It neither allocates nor blocks.
  void set_give_up(std::function<bool()> give_up) { give_up_ = std::move(give_up); }
  bool gave_up() const { return gave_up_; }  // the last stop_vcpus() did
  // After that: waits until every vCPU has captured its state, too.
  bool await_states(Clock::time_point deadline);
  bool freeze(Clock::time_point deadline) { return stop_vcpus(deadline) && await_states(deadline); }
  // Lets the guest go on. Where all of it stood for kLongPause or longer its clocks (kvmclock, every vCPU's TSC) are turned back by as
  // long, so that no timer or watchdog of its counts time in which it could not run. Returns when the last vCPU had been let go, as closely
  // as can be told: the time at which this is done, or, when by then all of them have been running for a while (a woken vCPU takes the
  // coordinator's CPU), the time the last of them began to.
  Clock::time_point thaw();
  std::uint32_t epoch() const { return gate_.epoch(); }  // odd while frozen
  std::uint64_t rekicks() const { return rekicks_; }     // kicks repeated because a vCPU did not come in time
  // For measuring: false leaves the vCPUs' states as they were at the next freezes.
  void set_capture(bool capture) { gate_.set_capture(capture); }
  // In which time; 10 ms. No kick is ever lost, as far as known and tested: this is for what is not known.
  void set_rekick(Clock::duration after) { rekick_after_ = after; }

 private:
  Vm() = default;
  Result<> create_chips();
  Result<> map_memory();
  Result<> create_vcpus(unsigned cpus);
  void kick(std::uint32_t epoch);
  void kick_all();
  void turn_back_clocks();

  UniqueFd kvm_;
  UniqueFd vm_;
  std::unique_ptr<GuestRam> ram_;
  std::unique_ptr<IrqRouting> irqs_;
  Bus ports_;
  Bus mmio_;
  Gate gate_;
  DebugRegisters debug_registers_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  bool running_ = false;
  Clock::duration rekick_after_ = std::chrono::milliseconds(10);
  std::uint64_t rekicks_ = 0;
  std::function<bool()> give_up_;
  bool gave_up_ = false;
  std::optional<Clock::time_point> stands_since_;  // all vCPUs have stopped
};

}  // namespace floe::vmm
