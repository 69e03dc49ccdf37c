// vCPUs: one thread each around KVM_RUN, and how one is brought to the gate (gate.hpp) and let go again.
//
// Stopping. The coordinator closes the gate, sets immediate_exit in every run page and signals every thread (SIGRTMIN): a vCPU about to
// enter the guest returns at once, one in the guest or halted in the kernel is kicked out. Each then, on its own thread and in
// parallel with the others, finishes a half-done port or MMIO access, captures its registers, is *stopped*, waits until all are, captures
// what the others could change in it until then (its APIC, its pending events), is *parked*, and waits for the gate to open. So an
// interrupt that one vCPU has sent is never missing in another, and the coordinator reads memory while that last part is captured.
//
// A vCPU thread never waits for anything but the gate. A vCPU that cannot run any more (triple fault, KVM error) stays at the gate,
// still parks and still shows its registers, so that a dead guest can be captured like a live one.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "vmm/debug_registers.hpp"
#include "vmm/device.hpp"
#include "vmm/gate.hpp"
#include "vmm/kvm.hpp"

namespace floe::vmm {

// All that a vCPU is, as KVM gives it: enough to resume from. Plain data, filled by the vCPU's own thread while it parks.
// `missing` has a bit per part that KVM refused (by order of the members below); a refused part is zero.
struct VcpuState {
  std::uint32_t missing = 0;
  std::uint32_t padding = 0;
  kvm_regs regs{};
  kvm_sregs sregs{};
  kvm_vcpu_events events{};
  kvm_mp_state mp_state{};
  std::uint32_t padding2 = 0;
  kvm_debugregs debugregs{};
  kvm_xcrs xcrs{};
  kvm_lapic_state lapic{};
  std::array<std::byte, 4096> xsave{};
  kvm::MsrTable msrs{};
};

// What a vCPU thread tells the machine's owner. Sent at most once per vCPU and kind; the callback runs on the vCPU thread and
// must not block.
struct VcpuEvent {
  enum class Kind { kTripleFault, kFatal };
  Kind kind = Kind::kFatal;
  unsigned vcpu = 0;
  std::string detail;
};

// A pause that a guest is to be told of, or spared: its watchdogs count in seconds.
inline constexpr auto kLongPause = std::chrono::milliseconds(100);

class Vcpu {
 public:
  struct Buses {
    const Bus* ports;
    const Bus* mmio;
  };
  struct Counters {
    std::atomic<std::uint64_t> runs{0}, port_io{0}, mmio{0}, unclaimed{0}, kicks{0}, parks{0};
  };

  // `vm_fd`, `gate`, the buses and `watches` outlive the vCPU.
  static Result<std::unique_ptr<Vcpu>> create(int vm_fd, std::size_t run_bytes, unsigned index, Gate& gate, Buses buses,
                                              DebugRegisters& watches);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  int fd() const { return fd_.get(); }
  unsigned index() const { return index_; }

  void start(std::function<void(const VcpuEvent&)> on_event);
  void join();
  // Once started. The kernel's id of the vCPU's thread.
  pid_t thread_id() const;

  // Coordinator: make the vCPU come to the gate. request_exit() for all vCPUs first, then signal() for all.
  void request_exit();
  void signal();
  // Instead of request_exit(): only out of the guest and back, nobody wants its registers.
  void request_turn();
  // Of a stopped vCPU. Its TSC goes on from where it was `stood` ago; where KVM cannot do that (before Linux 5.16) it stays as it is.
  void turn_back_tsc(std::chrono::nanoseconds stood);
  std::uint32_t stopped_epoch() const { return stopped_epoch_.load(std::memory_order_acquire); }
  std::uint32_t parked_epoch() const { return parked_epoch_.load(std::memory_order_acquire); }
  Clock::time_point stopped_at() const { return stopped_at_; }  // came to the gate; valid once parked_epoch() says so
  Clock::time_point parked_at() const { return parked_at_; }    // state captured; likewise
  // When it last went back to its guest from the gate.
  Clock::time_point resumed_at() const { return Clock::time_point(Clock::duration(resumed_at_.load(std::memory_order_acquire))); }

  // CPU time of the vCPU's thread so far, the guest's included. While it runs.
  std::chrono::nanoseconds cpu_time();

  // Valid while parked.
  const VcpuState& state() const { return *state_; }
  const Counters& counters() const { return counters_; }

 private:
  Vcpu(Gate& gate, Buses buses, DebugRegisters& watches, unsigned index) : gate_(gate), buses_(buses), watches_(watches), index_(index) {}
  void run();
  void arm_watches();
  void enter();
  void park(std::uint32_t epoch);
  void finish_pending_access();
  void leave();
  void get(unsigned part, unsigned long request, void* into);
  void capture_own();
  void capture_shared();
  void capture_msrs();
  bool handle_exit();
  void handle_port_io();
  void handle_mmio();
  void end(VcpuEvent::Kind kind, std::string detail);

  Gate& gate_;
  Buses buses_;
  DebugRegisters& watches_;
  unsigned index_;
  UniqueFd fd_;
  kvm_run* run_ = nullptr;
  std::size_t run_bytes_ = 0;
  bool syncs_registers_ = false;     // KVM_CAP_SYNC_REGS: a KVM_RUN that returns leaves the registers in the run page
  bool access_pending_ = false;      // the last exit was a port or MMIO access, which the next KVM_RUN completes
  std::vector<std::uint32_t> msrs_;  // to capture; those that KVM does not know are left out after the first time
  std::unique_ptr<VcpuState> state_;
  std::atomic<std::uint32_t> stopped_epoch_{0}, parked_epoch_{0};
  Clock::time_point stopped_at_{}, parked_at_{};
  std::atomic<Clock::rep> resumed_at_{0};
  std::atomic<bool> ended_{false};
  DebugAddresses armed_{};        // the watches that KVM knows of
  unsigned watches_refused_ = 0;  // in a row
  std::function<void(const VcpuEvent&)> on_event_;
  Counters counters_;
  std::atomic<pid_t> thread_id_{0};
  std::thread thread_;
};

// Installs the (empty) handler of the kick signal, without SA_RESTART, once per process.
void install_kick_signal();

}  // namespace floe::vmm
