// The modern virtio PCI transport (virtio 1.x, 4.1): what a driver sees of any virtio device on PCI. Capabilities that say
// where things are, the common configuration, notifications, the interrupt status, the device's own configuration and MSI-X,
// all in a 32 KiB BAR 0.
//
// One lock guards the transport, its queues and the device behind it. vCPU threads come in through config space and the BAR;
// the engine thread comes in through handle_notify() and through the device's host side. Interrupts are raised under the lock;
// nothing else is called under it that could wait.
//
// A driver that breaks a rule of the queues gets DEVICE_NEEDS_RESET: the reason is counted, no queue is served until it resets
// the device, nothing else suffers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/may_block.hpp"
#include "vmm/device.hpp"
#include "vmm/msix.hpp"
#include "vmm/pci.hpp"
#include "vmm/ram.hpp"
#include "vmm/virtqueue.hpp"

namespace floe::vmm {

// The device half. All calls but unlocked() come with the transport's lock held.
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;
  virtual void read_config(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write_config(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // The driver set DRIVER_OK, having accepted `features`. Queues are ready.
  virtual void started(std::uint64_t features) = 0;
  // The driver notified a queue that is enabled, while the device runs.
  virtual void notified(unsigned queue) = 0;
  // The driver resets the device: the last moment at which its queues can be used, and then only if `queues_usable` (the
  // function may reach memory). Called when started() was.
  virtual void stopping(bool queues_usable) = 0;
  // The lock was just released, on the same thread: the place to wake somebody.
  virtual void unlocked() = 0;
};

class VirtioPci final : public PciFunction, public RegisterDevice {
 public:
  static constexpr std::uint64_t kBarBytes = 32U << 10;
  static constexpr unsigned kMaxQueues = 16;
  static constexpr std::uint16_t kNoVector = 0xffff;
  // device_status
  static constexpr std::uint8_t kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 0x40, kFailed = 0x80;
  static constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;

  struct Options {
    std::uint16_t device_type = 0;   // virtio's number: 3 is a console
    std::uint32_t class_code = 0;    // PCI's, 24 bits
    std::uint64_t features = 0;      // offered beside VERSION_1
    unsigned queues = 0;             // at most kMaxQueues
    std::uint16_t queue_size = 64;   // offered, a power of two
    std::uint32_t config_bytes = 0;  // of the device's own configuration
  };
  // All must outlive the transport. MSI-X vectors: one per queue and one for configuration changes.
  VirtioPci(GuestRam& ram, MsiSink& sink, VirtioDevice& device, const Options& options);

  // --- towards the guest -----------------------------------------------------------------------------------------------
  void config_read(unsigned offset, std::span<std::byte> data) override;
  void config_write(unsigned offset, std::span<const std::byte> data) override;
  RegisterDevice* bar() override { return this; }
  void read(std::uint64_t offset, std::span<std::byte> data) override;  // offset in BAR 0
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  // --- towards the machine ---------------------------------------------------------------------------------------------
  unsigned vectors() const { return static_cast<unsigned>(queues_.size()) + 1; }
  unsigned queues() const { return static_cast<unsigned>(queues_.size()); }

  // Where a 16-bit write (of any value) notifies `queue`; nothing while the BAR is not decoded or the device does not run.
  // For binding ioeventfds.
  std::optional<std::uint64_t> notify_address(unsigned queue);
  // What such a write does. For the thread that waits for the ioeventfd; false when there was nothing that could run.
  bool handle_notify(unsigned queue);
  // Called on a vCPU thread, without locks, after notify_address() may have changed. Calls may overlap and overtake each other:
  // the callback takes its own lock and then asks notify_address(), so that the last call always sees the last state.
  void set_rebind_callback(std::function<void()> callback) { on_rebind_ = std::move(callback); }

  std::uint8_t status();

  struct Counters {
    std::array<std::uint64_t, kQueueFaults> faults{};  // by QueueFault: each of them set NEEDS_RESET
    QueueFault last_fault = QueueFault::kNone;
    std::uint16_t last_fault_queue = 0;
    std::uint64_t resets = 0;
    std::uint64_t notifies = 0;
    std::uint64_t stray_notifies = 0;    // of a queue that does not exist, is not enabled or cannot run
    std::uint64_t refused_features = 0;  // FEATURES_OK with features not offered, or without VERSION_1
    std::uint64_t refused_status = 0;    // status writes out of order
    std::uint64_t bad_accesses = 0;      // registers that are not there, or of the wrong width
    MsixTable::Counters msix;
  };
  Counters counters();

  // --- towards the device ----------------------------------------------------------------------------------------------
  // Runs `body` under the lock, for the device's host side; VirtioDevice::unlocked() follows.
  template <class Body>
  void locked(Body&& body) {
    {
      const std::lock_guard lock(mutex_);
      body();
    }
    device_.unlocked();
  }
  // The rest with the lock held.
  bool running() const;
  bool queue_ready(unsigned queue) const { return running() && queues_[queue].ring.enabled(); }
  Virtqueue& queue(unsigned index) { return queues_[index].ring; }
  // Virtqueue::peek, with a fault turned into NEEDS_RESET.
  Virtqueue::Peek peek(unsigned queue, Chain& chain);
  // Tells the driver about used chains of `queue`, unless it asked not to be told.
  void interrupt(unsigned queue);

  // --- for snapshots ---------------------------------------------------------------------------------------------------
  struct QueueState {
    std::uint64_t descriptors = 0, available = 0, used = 0;
    std::uint16_t size = 0, vector = kNoVector, taken = 0, used_index = 0;
    std::uint8_t enabled = 0, fault = 0;
    std::uint8_t reserved[6] = {};
  };
  struct State {
    std::uint32_t version = 1;
    std::uint32_t bytes = sizeof(State);
    std::array<std::byte, PciConfigSpace::kBytes> config{};
    std::uint64_t driver_features = 0;
    std::uint32_t device_feature_select = 0, driver_feature_select = 0;
    std::uint16_t config_vector = kNoVector, queue_select = 0, queues = 0, vectors = 0;
    std::uint8_t status = 0, interrupt_status = 0, config_generation = 0, reserved[5] = {};
    std::uint64_t pending_vectors = 0;
    std::array<std::byte, (kMaxQueues + 1) * MsixTable::kEntryBytes> msix{};
    std::array<QueueState, kMaxQueues> queue{};
  };
  // For frozen time only: takes no lock and allocates nothing, since every vCPU is parked and the engine thread is the caller.
  // Bytes written, 0 when `out` is smaller than sizeof(State).
  std::size_t save(std::span<std::byte> out) const noexcept;

 private:
  struct Queue {
    explicit Queue(GuestRam& ram, std::uint16_t max_size) : ring(ram, max_size) { wanted.size = max_size; }
    Virtqueue ring;
    Virtqueue::Layout wanted;  // as programmed; `ring` has what was enabled
    std::uint16_t vector = kNoVector;
  };

  template <class Body>
  void guest_access(Body&& body);
  void add_capabilities(const Options& options);
  void read_common(std::uint64_t offset, std::span<std::byte> data);
  void write_common(std::uint64_t offset, std::span<const std::byte> data);
  void write_queue(std::uint64_t offset, std::uint64_t value);
  void enable_queue(unsigned index);
  void write_status(std::uint8_t value);
  void write_features(std::uint32_t value);
  bool features_acceptable() const;
  void reset();
  void kick(unsigned queue);
  void kick_all();
  void raise_fault(unsigned queue, QueueFault fault);
  void configuration_interrupt();
  std::uint16_t checked_vector(std::uint64_t value) const;

  VirtioDevice& device_;
  const std::uint64_t offered_;
  const std::uint16_t max_queue_size_;
  const std::uint32_t config_bytes_;
  unsigned msix_offset_ = 0;
  std::function<void()> on_rebind_;

  Checked<std::mutex> mutex_;
  bool rebind_ = false;
  PciConfigSpace config_;
  MsixTable msix_;
  std::vector<Queue> queues_;
  std::uint64_t driver_features_ = 0;
  std::uint32_t device_feature_select_ = 0, driver_feature_select_ = 0;
  std::uint16_t config_vector_ = kNoVector;
  std::uint16_t queue_select_ = 0;
  std::uint8_t status_ = 0;
  std::uint8_t interrupt_status_ = 0;
  Counters counters_;
};

}  // namespace floe::vmm
