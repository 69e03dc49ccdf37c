// vCPUs: one thread each around KVM_RUN, and the gate at which all of them can be stopped and let go again.
//
// Stopping. The gate's epoch is even while the guest runs and odd while it is frozen. To freeze, the coordinator makes it odd, sets
// immediate_exit in every run page and signals every thread (SIGRTMIN): a vCPU about to enter the guest returns at once, one in the
// guest or halted in the kernel is kicked out. Each then, on its own thread and in parallel with the others, finishes a half-done
// port or MMIO access, captures its state, stores the epoch it parked in, and waits on the epoch by futex. The guest is
// frozen when every vCPU's parked epoch equals the gate's; comparing epochs instead of counting means that a late vCPU of an
// abandoned freeze can never be mistaken for one of the next.
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

#include "vmm/device.hpp"
#include "vmm/kvm.hpp"

namespace floe::vmm {

using Clock = std::chrono::steady_clock;

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

// The shared stop point. All operations are safe from any thread; freeze/thaw belong to one coordinator.
class Gate {
 public:
  std::uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  static bool frozen(std::uint32_t epoch) { return (epoch & 1) != 0; }
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  // Coordinator: odd -> even and back. Both return the new epoch and wake whoever waits on it.
  std::uint32_t advance();
  void stop();

  // vCPU: sleep until the epoch is no longer `seen`, or the machine stops.
  void wait_while(std::uint32_t seen) const;

  // vCPU -> coordinator: "something about my parked state changed". The coordinator sleeps on the counter until it moves past
  // `seen` or the time is over.
  void acknowledge();
  std::uint32_t acknowledgements() const { return acks_.load(std::memory_order_acquire); }
  void wait_acknowledgement(std::uint32_t seen, std::chrono::nanoseconds at_most) const;

 private:
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<std::uint32_t> acks_{0};
  std::atomic<bool> stopping_{false};
};

class Vcpu {
 public:
  struct Buses {
    const Bus* ports;
    const Bus* mmio;
  };
  struct Counters {
    std::atomic<std::uint64_t> runs{0}, port_io{0}, mmio{0}, unclaimed{0}, kicks{0}, parks{0};
  };

  // `vm_fd`, `gate` and the buses outlive the vCPU.
  static Result<std::unique_ptr<Vcpu>> create(int vm_fd, std::size_t run_bytes, unsigned index, Gate& gate, Buses buses);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  int fd() const { return fd_.get(); }
  unsigned index() const { return index_; }

  void start(std::function<void(const VcpuEvent&)> on_event);
  void join();

  // Coordinator: make the vCPU come to the gate. request_exit() for all vCPUs first, then signal() for all.
  void request_exit();
  void signal();
  std::uint32_t parked_epoch() const { return parked_epoch_.load(std::memory_order_acquire); }
  Clock::time_point parked_at() const { return parked_at_; }  // valid once parked_epoch() says so

  // Valid while parked.
  const VcpuState& state() const { return *state_; }
  const Counters& counters() const { return counters_; }

 private:
  Vcpu(Gate& gate, Buses buses, unsigned index) : gate_(gate), buses_(buses), index_(index) {}
  void run();
  void enter();
  void park(std::uint32_t epoch);
  void finish_pending_access();
  void capture();
  void capture_msrs();
  bool handle_exit();
  void handle_port_io();
  void handle_mmio();
  void end(VcpuEvent::Kind kind, std::string detail);

  Gate& gate_;
  Buses buses_;
  unsigned index_;
  UniqueFd fd_;
  kvm_run* run_ = nullptr;
  std::size_t run_bytes_ = 0;
  std::unique_ptr<VcpuState> state_;
  std::atomic<std::uint32_t> parked_epoch_{0};
  Clock::time_point parked_at_{};
  std::atomic<bool> ended_{false};
  std::function<void(const VcpuEvent&)> on_event_;
  Counters counters_;
  std::thread thread_;
};

// Installs the (empty) handler of the kick signal, without SA_RESTART, once per process.
void install_kick_signal();

}  // namespace floe::vmm
