#include "vmm/virtio_pci.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

// BAR 0.
constexpr std::uint64_t kCommon = 0x0000, kCommonBytes = 0x38;
constexpr std::uint64_t kInterruptStatus = 0x1000;
constexpr std::uint64_t kDeviceConfig = 0x2000;
constexpr std::uint64_t kNotify = 0x3000;
constexpr std::uint32_t kNotifyMultiplier = 4;
constexpr std::uint64_t kMsixTable = 0x4000, kMsixPending = 0x4800, kMsixPendingBytes = 8;

// struct virtio_pci_common_cfg (virtio 1.x, 4.1.4.3).
enum Common : std::uint64_t {
  kDeviceFeatureSelect = 0x00,
  kDeviceFeature = 0x04,
  kDriverFeatureSelect = 0x08,
  kDriverFeature = 0x0c,
  kConfigVector = 0x10,
  kQueueCount = 0x12,
  kDeviceStatus = 0x14,
  kConfigGeneration = 0x15,
  kQueueSelect = 0x16,
  kQueueSize = 0x18,
  kQueueVector = 0x1a,
  kQueueEnable = 0x1c,
  kQueueNotifyOffset = 0x1e,
  kQueueDescriptors = 0x20,
  kQueueAvailable = 0x28,
  kQueueUsed = 0x30,
};

constexpr std::uint8_t kInterruptQueue = 1, kInterruptConfig = 2;  // bits of the interrupt status
constexpr std::uint8_t kVendorCapability = 0x09, kMsixCapability = 0x11;
enum CapabilityType : std::uint8_t { kCommonType = 1, kNotifyType = 2, kIsrType = 3, kDeviceType = 4 };

// The width that a driver must use for the register at `offset`, 0 where there is none that it may write. The three
// addresses are written as two dwords each, or as one quadword.
std::size_t writable_width(std::uint64_t offset, std::size_t size) {
  switch (offset) {
    case kDeviceFeatureSelect:
    case kDriverFeatureSelect:
    case kDriverFeature:
    case kQueueDescriptors + 4:
    case kQueueAvailable + 4:
    case kQueueUsed + 4:
      return 4;
    case kQueueDescriptors:
    case kQueueAvailable:
    case kQueueUsed:
      return size == 8 ? 8 : 4;
    case kConfigVector:
    case kQueueSelect:
    case kQueueSize:
    case kQueueVector:
    case kQueueEnable:
      return 2;
    case kDeviceStatus:
      return 1;
    default:
      return 0;
  }
}

std::uint64_t merge(std::uint64_t old, std::uint64_t value, bool high, bool whole) {
  if (whole) return value;
  return high ? (old & 0xffff'ffffU) | value << 32 : (old & ~std::uint64_t{0xffff'ffff}) | value;
}

}  // namespace

VirtioPci::VirtioPci(GuestRam& ram, MsiSink& sink, VirtioDevice& device, const Options& options)
    : PciFunction(kBarBytes),
      device_(device),
      offered_(options.features | kFeatureVersion1),
      max_queue_size_(options.queue_size),
      config_bytes_(options.config_bytes),
      config_({.vendor = 0x1af4,
               .device = static_cast<std::uint16_t>(0x1040 + options.device_type),
               .revision = 1,
               .class_code = options.class_code,
               .subsystem_vendor = 0x1af4,
               .subsystem = 0x0040}),
      msix_(sink, std::min(options.queues, kMaxQueues) + 1) {
  const unsigned count = std::min(options.queues, kMaxQueues);
  queues_.reserve(count);
  for (unsigned i = 0; i < count; ++i) queues_.emplace_back(ram, options.queue_size);
  config_.add_bar0(kBarBytes);
  add_capabilities(options);
}

void VirtioPci::add_capabilities(const Options& options) {
  // struct virtio_pci_cap behind id and next: length, type, bar, id, two bytes of padding, offset, length; and for the
  // notify capability the multiplier.
  const auto add = [this](CapabilityType type, std::uint64_t offset, std::uint64_t length, bool notify = false) {
    std::array<std::byte, 18> body{};
    const std::size_t bytes = notify ? 18 : 14;
    body[0] = std::byte(bytes + 2);
    body[1] = std::byte{type};
    store_le(std::span(body).subspan(6, 4), offset);
    store_le(std::span(body).subspan(10, 4), length);
    if (notify) store_le(std::span(body).subspan(14, 4), kNotifyMultiplier);
    config_.add_capability(kVendorCapability, std::span(body).first(bytes));
  };
  add(kCommonType, kCommon, kCommonBytes);
  add(kIsrType, kInterruptStatus, 1);
  if (options.config_bytes != 0) add(kDeviceType, kDeviceConfig, options.config_bytes);
  add(kNotifyType, kNotify, kNotifyMultiplier * queues_.size(), true);

  std::array<std::byte, 10> msix{};  // control, table offset, pending offset; both in BAR 0
  store_le(std::span(msix).subspan(0, 2), msix_.vectors() - 1);
  store_le(std::span(msix).subspan(2, 4), kMsixTable);
  store_le(std::span(msix).subspan(6, 4), kMsixPending);
  msix_offset_ = config_.add_capability(kMsixCapability, msix);
  config_.allow(msix_offset_ + 2, MsixTable::kControlEnable | MsixTable::kControlMask, 2);
}

template <class Body>
void VirtioPci::guest_access(Body&& body) {
  bool rebind = false;
  {
    const std::lock_guard lock(mutex_);
    body();
    rebind = std::exchange(rebind_, false);
  }
  device_.unlocked();
  if (rebind && on_rebind_) on_rebind_();
}

void VirtioPci::config_read(unsigned offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  config_.read(offset, data);
}

void VirtioPci::config_write(unsigned offset, std::span<const std::byte> data) {
  guest_access([&] {
    const std::uint16_t command = config_.command();
    config_.write(offset, data);
    if (PciConfigSpace::touches(offset, data.size(), msix_offset_ + 2, 2)) msix_.set_control(config_.get16(msix_offset_ + 2));
    rebind_ |= update_decode(config_);
    // What was made available while the device could not reach memory got its notification lost.
    const bool gained_bus = (config_.command() & ~command & PciConfigSpace::kCommandBusMaster) != 0;
    if (gained_bus) kick_all();
  });
}

void VirtioPci::read(std::uint64_t offset, std::span<std::byte> data) {
  guest_access([&] {
    const std::uint64_t end = offset + data.size();
    if (end <= kCommon + kCommonBytes) {
      read_common(offset, data);
    } else if (offset == kInterruptStatus) {
      store_le(data, std::exchange(interrupt_status_, std::uint8_t{0}));
    } else if (offset >= kDeviceConfig && end <= kDeviceConfig + config_bytes_) {
      device_.read_config(offset - kDeviceConfig, data);
    } else if (offset >= kMsixTable && end <= kMsixTable + msix_.vectors() * MsixTable::kEntryBytes) {
      msix_.read_table(offset - kMsixTable, data);
    } else if (offset >= kMsixPending && end <= kMsixPending + kMsixPendingBytes) {
      msix_.read_pending(offset - kMsixPending, data);
    } else {
      store_le(data, 0);
      ++counters_.bad_accesses;
    }
  });
}

void VirtioPci::write(std::uint64_t offset, std::span<const std::byte> data) {
  guest_access([&] {
    const std::uint64_t end = offset + data.size();
    if (end <= kCommon + kCommonBytes) {
      write_common(offset, data);
    } else if (offset >= kDeviceConfig && end <= kDeviceConfig + config_bytes_) {
      device_.write_config(offset - kDeviceConfig, data);
    } else if (offset >= kNotify && offset < kNotify + kNotifyMultiplier * queues_.size() && offset % kNotifyMultiplier == 0) {
      // The address says which queue, as it does for an ioeventfd; the value written is the same number.
      kick(static_cast<unsigned>((offset - kNotify) / kNotifyMultiplier));
    } else if (offset >= kMsixTable && end <= kMsixTable + msix_.vectors() * MsixTable::kEntryBytes) {
      msix_.write_table(offset - kMsixTable, data);
    } else {
      ++counters_.bad_accesses;
    }
  });
}

// All registers are laid out as the driver would see them, so that any width can be read.
void VirtioPci::read_common(std::uint64_t offset, std::span<std::byte> data) {
  std::array<std::byte, kCommonBytes> image{};
  const auto put = [&image](std::uint64_t at, std::uint64_t value, std::size_t bytes) {
    store_le(std::span(image).subspan(at, bytes), value);
  };
  const auto half = [](std::uint64_t features, std::uint32_t select) { return select < 2 ? features >> (32 * select) & 0xffff'ffffU : 0; };
  put(kDeviceFeatureSelect, device_feature_select_, 4);
  put(kDeviceFeature, half(offered_, device_feature_select_), 4);
  put(kDriverFeatureSelect, driver_feature_select_, 4);
  put(kDriverFeature, half(driver_features_, driver_feature_select_), 4);
  put(kConfigVector, config_vector_, 2);
  put(kQueueCount, queues_.size(), 2);
  put(kDeviceStatus, status_, 1);
  put(kConfigGeneration, 0, 1);  // the configuration never changes
  put(kQueueSelect, queue_select_, 2);
  if (queue_select_ < queues_.size()) {
    const Queue& queue = queues_[queue_select_];
    put(kQueueSize, queue.wanted.size, 2);
    put(kQueueVector, queue.vector, 2);
    put(kQueueEnable, queue.ring.enabled() ? 1 : 0, 2);
    put(kQueueNotifyOffset, queue_select_, 2);
    put(kQueueDescriptors, queue.wanted.descriptors.value, 8);
    put(kQueueAvailable, queue.wanted.available.value, 8);
    put(kQueueUsed, queue.wanted.used.value, 8);
  }
  read_image(image, offset, data);
}

void VirtioPci::write_common(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() != writable_width(offset, data.size())) {
    ++counters_.bad_accesses;
    return;
  }
  const std::uint64_t value = load_le(data);
  switch (offset) {
    case kDeviceFeatureSelect:
      device_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case kDriverFeatureSelect:
      driver_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case kDriverFeature:
      return write_features(static_cast<std::uint32_t>(value));
    case kConfigVector:
      config_vector_ = checked_vector(value);
      return;
    case kDeviceStatus:
      return write_status(static_cast<std::uint8_t>(value));
    case kQueueSelect:
      queue_select_ = static_cast<std::uint16_t>(value);
      return;
    default:
      if (queue_select_ >= queues_.size()) {
        ++counters_.bad_accesses;
        return;
      }
      if (data.size() == 8) {
        write_queue(offset, value & 0xffff'ffffU);
        return write_queue(offset + 4, value >> 32);
      }
      return write_queue(offset, value);
  }
}

void VirtioPci::write_queue(std::uint64_t offset, std::uint64_t value) {
  Queue& queue = queues_[queue_select_];
  if (offset == kQueueVector) {
    queue.vector = checked_vector(value);
    return;
  }
  if (queue.ring.enabled()) {  // a running queue cannot be changed, only reset with the device
    ++counters_.bad_accesses;
    return;
  }
  const auto set = [value, offset](Gpa& address, std::uint64_t start) {
    address = Gpa(merge(address.value, value, offset != start, false));
  };
  switch (offset) {
    case kQueueSize:
      queue.wanted.size = static_cast<std::uint16_t>(value);
      return;
    case kQueueEnable:
      if (value == 1) enable_queue(queue_select_);
      return;
    case kQueueDescriptors:
    case kQueueDescriptors + 4:
      return set(queue.wanted.descriptors, kQueueDescriptors);
    case kQueueAvailable:
    case kQueueAvailable + 4:
      return set(queue.wanted.available, kQueueAvailable);
    default:
      return set(queue.wanted.used, kQueueUsed);
  }
}

void VirtioPci::enable_queue(unsigned index) {
  if ((status_ & kFeaturesOk) == 0 || (status_ & kNeedsReset) != 0) {
    ++counters_.bad_accesses;
    return;
  }
  Queue& queue = queues_[index];
  const QueueFault fault = queue.ring.enable(queue.wanted);
  if (fault != QueueFault::kNone) raise_fault(index, fault);
  rebind_ = true;
}

void VirtioPci::write_features(std::uint32_t value) {
  if ((status_ & kFeaturesOk) != 0 || driver_feature_select_ > 1) {  // agreed already, or features that nobody defined
    if (value != 0) ++counters_.bad_accesses;
    return;
  }
  const unsigned shift = 32 * driver_feature_select_;
  driver_features_ = (driver_features_ & ~(std::uint64_t{0xffff'ffff} << shift)) | std::uint64_t{value} << shift;
}

bool VirtioPci::features_acceptable() const {
  return (driver_features_ & ~offered_) == 0 && (driver_features_ & kFeatureVersion1) != 0;
}

// A driver only ever adds bits; all it can take back is everything, by writing 0.
void VirtioPci::write_status(std::uint8_t value) {
  if (value == 0) return reset();
  const std::uint8_t known = kAcknowledge | kDriver | kDriverOk | kFeaturesOk | kFailed;
  if ((status_ & known & ~value) != 0) ++counters_.refused_status;
  auto added = static_cast<std::uint8_t>(value & known & ~status_);
  if ((added & kFeaturesOk) != 0 && !features_acceptable()) {
    ++counters_.refused_features;
    added &= static_cast<std::uint8_t>(~kFeaturesOk);
  }
  if ((added & kDriverOk) != 0 && ((status_ | added) & kFeaturesOk) == 0) {
    ++counters_.refused_status;
    added &= static_cast<std::uint8_t>(~kDriverOk);
  }
  status_ |= added;
  if ((added & kDriverOk) == 0) return;
  rebind_ = true;
  device_.started(driver_features_);
  kick_all();  // a driver may fill its queues before it says DRIVER_OK, and need not notify again
}

void VirtioPci::reset() {
  const bool started = (status_ & kDriverOk) != 0;
  status_ = 0;  // before the device drains its queues: a fault found there interrupts nobody
  if (started) device_.stopping((config_.command() & PciConfigSpace::kCommandBusMaster) != 0);
  for (Queue& queue : queues_) {
    queue.ring.disable();
    queue.wanted = {};
    queue.wanted.size = max_queue_size_;
    queue.vector = kNoVector;
  }
  config_vector_ = kNoVector;
  driver_features_ = 0;
  device_feature_select_ = driver_feature_select_ = 0;
  queue_select_ = 0;
  status_ = 0;
  interrupt_status_ = 0;
  rebind_ = true;
  ++counters_.resets;
}

bool VirtioPci::running() const {
  return (status_ & (kDriverOk | kNeedsReset)) == kDriverOk && (config_.command() & PciConfigSpace::kCommandBusMaster) != 0;
}

void VirtioPci::kick(unsigned queue) {
  ++counters_.notifies;
  if (queue < queues_.size() && queue_ready(queue))
    device_.notified(queue);
  else
    ++counters_.stray_notifies;
}

void VirtioPci::kick_all() {
  for (unsigned queue = 0; queue < queues_.size(); ++queue)
    if (queue_ready(queue)) device_.notified(queue);
}

bool VirtioPci::handle_notify(unsigned queue) {
  bool ran = false;
  guest_access([&] {
    ran = queue < queues_.size() && queue_ready(queue);
    kick(queue);
  });
  return ran;
}

std::optional<std::uint64_t> VirtioPci::notify_address(unsigned queue) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t start = decoded_at();
  if (start == 0 || queue >= queues_.size() || (status_ & kDriverOk) == 0 || !queues_[queue].ring.enabled()) return std::nullopt;
  return start + kNotify + std::uint64_t{queue} * kNotifyMultiplier;
}

std::uint8_t VirtioPci::status() {
  const std::lock_guard lock(mutex_);
  return status_;
}

VirtioPci::Counters VirtioPci::counters() {
  const std::lock_guard lock(mutex_);
  Counters copy = counters_;
  copy.msix = msix_.counters();
  return copy;
}

Virtqueue::Peek VirtioPci::peek(unsigned queue, Chain& chain) {
  const Virtqueue::Peek result = queues_[queue].ring.peek(chain);
  if (result == Virtqueue::Peek::kFault && (status_ & kNeedsReset) == 0) raise_fault(queue, queues_[queue].ring.fault());
  return result;
}

void VirtioPci::raise_fault(unsigned queue, QueueFault fault) {
  ++counters_.faults[static_cast<std::size_t>(fault)];
  counters_.last_fault = fault;
  counters_.last_fault_queue = static_cast<std::uint16_t>(queue);
  status_ |= kNeedsReset;
  if ((status_ & kDriverOk) != 0) configuration_interrupt();
}

void VirtioPci::configuration_interrupt() {
  interrupt_status_ |= kInterruptConfig;
  if (config_vector_ != kNoVector) msix_.trigger(config_vector_);
}

void VirtioPci::interrupt(unsigned queue) {
  if (!queues_[queue].ring.interrupt_wanted()) return;
  interrupt_status_ |= kInterruptQueue;
  if (queues_[queue].vector != kNoVector) msix_.trigger(queues_[queue].vector);
}

std::uint16_t VirtioPci::checked_vector(std::uint64_t value) const {
  return value < msix_.vectors() ? static_cast<std::uint16_t>(value) : kNoVector;
}

std::size_t VirtioPci::save(std::span<std::byte> out) const noexcept {
  if (out.size() < sizeof(State)) return 0;
  State state;
  std::copy(config_.image().begin(), config_.image().end(), state.config.begin());
  state.driver_features = driver_features_;
  state.device_feature_select = device_feature_select_;
  state.driver_feature_select = driver_feature_select_;
  state.config_vector = config_vector_;
  state.queue_select = queue_select_;
  state.queues = static_cast<std::uint16_t>(queues_.size());
  state.vectors = static_cast<std::uint16_t>(msix_.vectors());
  state.status = status_;
  state.interrupt_status = interrupt_status_;
  state.pending_vectors = msix_.pending();
  msix_.copy_entries(state.msix);
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    const Queue& queue = queues_[i];
    state.queue[i] = {.descriptors = queue.wanted.descriptors.value,
                      .available = queue.wanted.available.value,
                      .used = queue.wanted.used.value,
                      .size = queue.wanted.size,
                      .vector = queue.vector,
                      .taken = queue.ring.taken(),
                      .used_index = queue.ring.used(),
                      .enabled = queue.ring.enabled(),
                      .fault = static_cast<std::uint8_t>(queue.ring.fault())};
  }
  std::memcpy(out.data(), &state, sizeof state);
  return sizeof state;
}

}  // namespace floe::vmm
