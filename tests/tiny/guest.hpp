// A tiny bare-metal guest: up to eight vCPUs that each do one thing in a loop, in floe's own Vm and, when asked, with its devices.
//
// It is there for what a Linux guest is too slow or too complicated for: kicks, exits, virtqueues, dirty pages, freezing. Its
// vCPUs start in ring 3 of long mode, which a software KVM (a /dev/kvm without svm or vmx) runs natively; the same image
// runs on hardware. What it does is chosen by words in guest memory (abi.h), at any time, also while it runs.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/tiny/abi.h"
#include "vmm/pc.hpp"
#include "vmm/vm.hpp"

namespace floe::tiny {

// Why this host cannot run the guest; nothing when it can. Tried once, with the product's own probe.
const std::optional<std::string>& unavailable();

struct GuestOptions {
  unsigned cpus = 1;
  std::uint64_t memory_bytes = 64u << 20;
  bool pc = false;                          // with the devices of a Pc, for TINY_FRAMES and TINY_GARBAGE
  std::function<void()> console_wake = {};  // the Pc's callback, beside the count of console_wakes()
  bool tlv_by_event = false;                // Pc::create
};

class Guest {
 public:
  static Result<std::unique_ptr<Guest>> create(const GuestOptions& options);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  vmm::Vm& vm() { return *vm_; }
  bool has_pc() const { return pc_ != nullptr; }
  vmm::Pc& pc() { return *pc_; }
  unsigned cpus() const { return vm_->cpus(); }

  void start();
  void stop() { vm_->stop(); }

  // Sets what the vCPU does from now on and, should it be halted, wakes it. Parameters first, then the mode.
  void set_mode(unsigned cpu, tiny_mode mode);
  void set_mode(tiny_mode mode);
  void set_parameter(unsigned cpu, std::uint64_t tiny_parameters::* field, std::uint64_t value);
  // Pages [first, first + pages) by gpa are written one after the other, one each `pace` turns of TINY_COUNT.
  void set_dirtying(unsigned cpu, Gpa first, std::uint64_t pages, std::uint64_t pace);
  void wake(unsigned cpu);  // an interrupt

  // As the running guest has them.
  std::uint64_t counter(unsigned cpu) const { return load(cpu, TINY_COUNTER); }
  std::uint64_t mirror(unsigned cpu) const { return load(cpu, TINY_MIRROR); }
  std::uint64_t status(unsigned cpu, std::uint64_t tiny_status::* field) const;
  // Whichever of a vCPU's numbers moves while it does what it does in `mode`. For a halted one, send it a wake() between two looks.
  std::uint64_t progress(unsigned cpu, tiny_mode mode) const;

  // Looks until `true` or the limit is over. For tests: nothing else depends on how often it looks.
  static bool wait(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(20));
  // Every vCPU has made some progress since the call (halted ones are woken for it).
  bool wait_for_progress(tiny_mode mode, std::chrono::milliseconds limit = std::chrono::seconds(20));
  // Every vCPU halts: from then on nothing but the host changes the RAM.
  bool halt(std::chrono::milliseconds limit = std::chrono::seconds(20));

  // Gpa of offset `at` of a vCPU's area.
  static Gpa area(unsigned cpu, std::uint64_t at = 0) { return Gpa(TINY_AREAS + std::uint64_t{cpu} * TINY_AREA_BYTES + at); }
  const tiny_header& header() const { return header_; }
  bool in_payload(std::uint64_t ip) const { return ip >= TINY_PAYLOAD && ip < header_.end; }

  // The guest's own ports.
  std::uint64_t port_writes() const { return ports_.exits.load(); }
  std::uint64_t last_sequence() const { return ports_.sequence.load(); }  // answered last
  std::uint64_t faults() const { return ports_.faults.load(); }
  bool latched() const { return ports_.latched.load(); }  // a vCPU's thread is stuck in a device
  void close_latch();
  void open_latch();

  // vCPU events so far.
  std::vector<vmm::VcpuEvent> events() const;
  std::uint64_t console_wakes() const { return console_wakes_.load(); }

 private:
  struct Ports final : vmm::RegisterDevice {
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;
    std::atomic<std::uint64_t> exits{0}, sequence{0}, faults{0};
    std::atomic<bool> latched{false};
    std::mutex mutex;
    std::condition_variable opened;
    bool closed = false;
  };

  Guest() = default;
  Result<> load();
  void write_page_tables();
  void write_descriptors();
  Result<> set_registers(unsigned cpu);
  template <class T>
  void put(std::uint64_t gpa, const T& value);
  std::uint64_t load(unsigned cpu, std::uint64_t at) const;

  Ports ports_;
  tiny_header header_{};
  std::unique_ptr<vmm::Vm> vm_;
  std::unique_ptr<vmm::Pc> pc_;
  mutable std::mutex events_mutex_;
  std::vector<vmm::VcpuEvent> events_;
  std::atomic<std::uint64_t> console_wakes_{0};
};

}  // namespace floe::tiny
