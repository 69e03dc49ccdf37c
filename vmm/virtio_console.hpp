// virtio-console with two ports, the guest's way to talk to floe: port 0 "floe-console" is the terminal hvc0, port 1 "floe-tlv"
// (/dev/vport0p1) carries the TLV stream of vmm/wire.hpp. Both are byte pipes here.
//
// Guest to host: bytes are copied out of the driver's chains into a bounded buffer per port. When the buffer has no room for
// the next chain the chain stays in the queue, so that the guest waits (on port 0 its driver spins), and take() goes on with
// it: nothing is lost but what a hostile guest forces at reset, and that is counted. Host to guest: send() queues bytes, which
// go out as the driver posts buffers; for port 1 only while a process in the guest has it open.
//
// What one call copies is bounded, so that neither a vCPU nor the engine thread is held for long by what the driver does. Work
// left over at a bound is continued by take() and service(), for which the output callback asks.
//
// Queues: port 0 receive/transmit 0/1, control receive/transmit 2/3, port 1 receive/transmit 4/5 ("receive" is the driver's).
// The host-side calls may come from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/virtio_pci.hpp"

namespace floe::vmm {

class VirtioConsole final : private VirtioDevice {
 public:
  static constexpr unsigned kPorts = 2;
  static constexpr unsigned kConsolePort = 0, kTlvPort = 1;
  static constexpr std::array<std::string_view, kPorts> kPortNames = {"floe-console", "floe-tlv"};
  static constexpr unsigned kQueues = 2 * (kPorts + 1);
  static constexpr unsigned kTlvTransmitQueue = 5;
  static constexpr std::uint64_t kFeatureMultiport = 1U << 1;

  // Bounds per call.
  static constexpr std::uint64_t kTransmitBytes = 256U << 10;  // taken from one transmit queue
  static constexpr unsigned kTransmitChains = 256;             // the same in chains: empty ones cost time too
  static constexpr unsigned kControlChains = 32;
  static constexpr unsigned kReceiveChains = 64;
  // Room beyond the buffer's bound for what is still in the queue when the driver resets the device.
  static constexpr std::uint64_t kResetRoom = 1U << 20;
  static constexpr std::size_t kKeptCapacity = 256U << 10;  // of a drained buffer

  struct Options {
    std::size_t output_bytes = 1U << 20;  // guest to host, per port; at least Virtqueue::kMaxChainBytes
    std::size_t input_bytes = 1U << 20;   // host to guest, per port
  };
  // `ram` and `sink` must outlive the console.
  VirtioConsole(GuestRam& ram, MsiSink& sink, Options options);
  VirtioConsole(GuestRam& ram, MsiSink& sink) : VirtioConsole(ram, sink, Options()) {}

  // The PCI function, for PciHost::add, ioeventfds and the transport's counters.
  VirtioPci& function() { return pci_; }

  // Called, on the thread whose access caused it and without locks, when take() or service() has something to do. It must not
  // block: set an eventfd, post to the engine. Set before the first vCPU runs.
  void set_output_callback(std::function<void()> callback) { on_output_ = std::move(callback); }

  // Swaps what `port` has sent into `out` (its old content is dropped, its memory reused), makes room for waiting chains, and
  // continues work left over. Returns the bytes taken. When more arrived meanwhile the callback has been called.
  std::size_t take(unsigned port, std::vector<std::byte>& out);
  // Looks at all queues, whether notified or not, without taking anything.
  void service();
  // For the end of a run, when no vCPU runs any more: reads what the driver still has in the transmit queue, even beyond the
  // bound and without telling it, and appends everything to `out`. Call once per port.
  std::size_t final_drain(unsigned port, std::vector<std::byte>& out);

  // Queues bytes for the guest. False, and nothing queued, when they would not fit the bound.
  [[nodiscard]] bool send(unsigned port, std::span<const std::byte> data);

  // Whether a process in the guest has the port open. Port 0 counts as open once the driver runs.
  bool guest_open(unsigned port);
  std::size_t pending_input(unsigned port);   // queued by send(), not yet in the guest
  std::size_t pending_output(unsigned port);  // waiting for take()

  struct Counters {
    struct Port {
      std::uint64_t output_bytes = 0, input_bytes = 0;  // moved: guest to host, host to guest
      std::uint64_t output_chains = 0, input_chains = 0;
      std::uint64_t empty_output_chains = 0;   // without a readable byte
      std::uint64_t torn_input_chains = 0;     // that could not take a byte: given back with length 0
      std::uint64_t odd_chains = 0;            // with buffers of the wrong direction
      std::uint64_t back_pressure = 0;         // times the buffer had no room for the next chain
      std::uint64_t lost_at_reset_chains = 0;  // beyond kResetRoom
      std::uint64_t refused_sends = 0;
      std::uint64_t opens = 0, closes = 0;
    };
    std::array<Port, kPorts> port;
    std::uint64_t control_messages = 0;
    std::uint64_t short_control = 0;     // chains without a whole message
    std::uint64_t repeated_control = 0;  // a handshake step the driver had made before
    std::uint64_t failed_ports = 0;      // PORT_READY 0: the driver could not set the port up
    std::uint64_t unknown_control = 0;   // unknown event, port or value
    std::uint64_t deferred_calls = 0;    // calls that ended at one of their bounds
    std::uint64_t stray_queues = 0;      // notifies of multiport queues without the feature
    std::uint64_t config_writes = 0;     // the configuration is read-only here
  };
  Counters counters();

  struct State {
    std::uint32_t version = 1;
    std::uint32_t bytes = sizeof(State);
    struct Port {
      std::uint64_t pending_output = 0, pending_input = 0;  // bytes in the host's buffers at that moment, not part of the state
      std::uint8_t ready = 0, guest_open = 0, reserved[6] = {};
    };
    std::array<Port, kPorts> port;
    std::uint32_t pending_control = 0;
    std::uint8_t multiport = 0, device_ready = 0, reserved[2] = {};
    VirtioPci::State pci;
  };
  // For frozen time only: takes no lock and allocates nothing, since every vCPU is parked and no other thread is in a call of
  // this console. Bytes written, 0 when `out` is smaller than sizeof(State).
  std::size_t save(std::span<std::byte> out) const noexcept;

 private:
  struct Port {
    std::vector<std::byte> output;  // guest to host
    std::vector<std::byte> input;   // host to guest, from input_at on
    std::size_t input_at = 0;
    bool ready = false;
    bool guest_open = false;
    std::size_t pending() const { return input.size() - input_at; }
  };
  struct ControlMessage {
    std::uint32_t port;
    std::uint16_t event;
    std::uint16_t value;
    std::string_view name;  // behind the message, for PORT_NAME
  };

  void read_config(std::uint64_t offset, std::span<std::byte> data) override;
  void write_config(std::uint64_t offset, std::span<const std::byte> data) override;
  void started(std::uint64_t features) override;
  void notified(unsigned queue) override;
  void stopping(bool queues_usable) override;
  void unlocked() override;

  void transmit(unsigned port);
  void copy_output(unsigned port);
  void drain_output(unsigned port, std::uint64_t limit);
  void receive(unsigned port);
  void read_control();
  void handle_control(std::span<const std::byte> message);
  void port_ready(unsigned port, std::uint16_t value);
  void port_open(unsigned port, std::uint16_t value);
  void flush_control();
  void continue_work();
  void defer();
  bool input_allowed(unsigned port) const;

  const Options options_;
  VirtioPci pci_;
  std::function<void()> on_output_;

  // Under the transport's lock.
  std::array<Port, kPorts> ports_;
  std::vector<ControlMessage> control_;  // towards the driver, waiting for buffers
  bool multiport_ = false;
  bool device_ready_ = false;
  Chain chain_;  // scratch: its vectors keep their memory
  Counters counters_;
  std::atomic<bool> wake_{false};
};

}  // namespace floe::vmm
