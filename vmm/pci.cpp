#include "vmm/pci.hpp"

#include <algorithm>

#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint16_t kStatusCapabilities = 1U << 4;
constexpr std::uint32_t kAddressEnable = 1U << 31;
constexpr unsigned kConfigBytes = 4096;    // of one function in ECAM
constexpr std::uint64_t kAddressPort = 0;  // 0xCF8, offsets in the port window
constexpr std::uint64_t kResetPort = 1;    // 0xCF9
constexpr std::uint64_t kDataPort = 4;     // 0xCFC-0xCFF
constexpr std::uint8_t kResetRequest = 1U << 2;

}  // namespace

PciConfigSpace::PciConfigSpace(const Identity& identity) {
  set(0x00, identity.vendor, 2);
  set(0x02, identity.device, 2);
  set(0x08, identity.class_code << 8 | identity.revision, 4);
  set(0x2c, identity.subsystem_vendor, 2);
  set(0x2e, identity.subsystem, 2);
  allow(kCommand, kCommandMemory | kCommandBusMaster, 2);
  allow(0x0c, 0xff, 1);  // cache line size and
  allow(0x3c, 0xff, 1);  // interrupt line are scratch registers of the guest's
}

void PciConfigSpace::add_bar0(std::uint32_t bytes) {
  allow(kBar0, ~(bytes - 1), 4);
}

unsigned PciConfigSpace::add_capability(std::uint8_t id, std::span<const std::byte> body) {
  const unsigned offset = next_capability_;
  if (offset + 2 + body.size() > kBytes) return 0;
  set(last_pointer_, offset, 1);
  set(offset, id, 1);
  std::copy(body.begin(), body.end(), bytes_.begin() + offset + 2);
  set(kStatus, get16(kStatus) | kStatusCapabilities, 2);
  last_pointer_ = offset + 1;
  next_capability_ = (offset + 2 + static_cast<unsigned>(body.size()) + 3) & ~3U;
  return offset;
}

void PciConfigSpace::read(unsigned offset, std::span<std::byte> data) const {
  read_image(bytes_, offset, data);
}

void PciConfigSpace::write(unsigned offset, std::span<const std::byte> data) {
  for (const std::byte value : data) {
    if (offset >= kBytes) return;
    bytes_[offset] = (bytes_[offset] & ~writable_[offset]) | (value & writable_[offset]);
    ++offset;
  }
}

bool PciConfigSpace::touches(unsigned offset, std::size_t size, unsigned start, std::size_t bytes) {
  return offset < start + bytes && start < offset + size;
}

std::uint16_t PciConfigSpace::get16(unsigned offset) const {
  return static_cast<std::uint16_t>(load_le(std::span(bytes_).subspan(offset, 2)));
}

std::uint32_t PciConfigSpace::get32(unsigned offset) const {
  return static_cast<std::uint32_t>(load_le(std::span(bytes_).subspan(offset, 4)));
}

void PciConfigSpace::set(unsigned offset, std::uint64_t value, std::size_t bytes) {
  store_le(std::span(bytes_).subspan(offset, bytes), value);
}

void PciConfigSpace::allow(unsigned offset, std::uint64_t mask, std::size_t bytes) {
  store_le(std::span(writable_).subspan(offset, bytes), mask);
}

bool PciFunction::update_decode(const PciConfigSpace& config) {
  const std::uint64_t start = config.get32(PciConfigSpace::kBar0) & ~std::uint64_t{0xf};
  const std::uint64_t offset = start - window_start_;  // huge when below the window
  const bool decoded = (config.command() & PciConfigSpace::kCommandMemory) != 0 && start != 0 && bar_bytes_ != 0 &&
                       bar_bytes_ <= window_bytes_ && offset <= window_bytes_ - bar_bytes_;
  const std::uint64_t now = decoded ? start : 0;
  return decoded_at_.exchange(now, std::memory_order_acq_rel) != now;
}

PciHost::HostBridge::HostBridge() : config_({.vendor = 0x8086, .device = 0x0d57, .class_code = 0x060000}) {}

void PciHost::HostBridge::config_read(unsigned offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  config_.read(offset, data);
}

void PciHost::HostBridge::config_write(unsigned offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  config_.write(offset, data);
}

PciHost::PciHost(std::uint64_t window_start, std::uint64_t window_bytes) : window_start_(window_start), window_bytes_(window_bytes) {
  functions_[0] = &bridge_;
}

bool PciHost::add(unsigned device, PciFunction& function) {
  if (device >= kDevices || functions_[device] != nullptr) return false;
  function.window_start_ = window_start_;
  function.window_bytes_ = window_bytes_;
  functions_[device] = &function;
  return true;
}

// bus << 20 | device << 15 | function << 12 | register, as ECAM lays it out.
PciFunction* PciHost::at(std::uint64_t ecam_offset) const {
  const std::uint64_t bus = ecam_offset >> 20;
  const std::uint64_t device = ecam_offset >> 15 & 0x1f;
  const std::uint64_t function = ecam_offset >> 12 & 7;
  return bus == 0 && function == 0 ? functions_[device] : nullptr;
}

// Functions see aligned pieces of one dword at most; a guest may ask for anything (KVM splits no MMIO access up to 8 bytes).
void PciHost::config_read(std::uint64_t ecam_offset, std::span<std::byte> data) const {
  while (!data.empty()) {
    const std::size_t piece = std::min<std::size_t>(data.size(), 4 - ecam_offset % 4);
    if (PciFunction* function = at(ecam_offset))
      function->config_read(static_cast<unsigned>(ecam_offset % kConfigBytes), data.first(piece));
    else
      fill_ones(data.first(piece));
    data = data.subspan(piece);
    ecam_offset += piece;
  }
}

void PciHost::config_write(std::uint64_t ecam_offset, std::span<const std::byte> data) const {
  while (!data.empty()) {
    const std::size_t piece = std::min<std::size_t>(data.size(), 4 - ecam_offset % 4);
    if (PciFunction* function = at(ecam_offset))
      function->config_write(static_cast<unsigned>(ecam_offset % kConfigBytes), data.first(piece));
    data = data.subspan(piece);
    ecam_offset += piece;
  }
}

void PciHost::Ecam::read(std::uint64_t offset, std::span<std::byte> data) {
  host.config_read(offset, data);
}
void PciHost::Ecam::write(std::uint64_t offset, std::span<const std::byte> data) {
  host.config_write(offset, data);
}

// The address register answers to dwords alone; the kernel's probe writes one byte to 0xCFB and then expects 0xCF8 unharmed.
void PciHost::ConfigPorts::read(std::uint64_t offset, std::span<std::byte> data) {
  fill_ones(data);
  if (offset == kAddressPort && data.size() == 4) {
    store_le(data, host.address_.load(std::memory_order_relaxed));
  } else if (offset == kResetPort && data.size() == 1) {
    store_le(data, host.reset_control_.load(std::memory_order_relaxed));
  } else if (offset >= kDataPort && offset + data.size() <= kConfigPorts) {
    const std::uint32_t address = host.address_.load(std::memory_order_relaxed);
    if ((address & kAddressEnable) != 0)
      host.config_read(std::uint64_t{address >> 8 & 0xffffU} << 12 | (address & 0xfcU) | (offset - kDataPort), data);
  }
}

void PciHost::ConfigPorts::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset == kAddressPort && data.size() == 4) {
    host.address_.store(static_cast<std::uint32_t>(load_le(data)), std::memory_order_relaxed);
  } else if (offset == kResetPort && data.size() == 1) {
    const auto value = static_cast<std::uint8_t>(load_le(data));
    host.reset_control_.store(value & static_cast<std::uint8_t>(~kResetRequest), std::memory_order_relaxed);
    if ((value & kResetRequest) != 0 && host.on_reset_) host.on_reset_();
  } else if (offset >= kDataPort && offset + data.size() <= kConfigPorts) {
    const std::uint32_t address = host.address_.load(std::memory_order_relaxed);
    if ((address & kAddressEnable) != 0)
      host.config_write(std::uint64_t{address >> 8 & 0xffffU} << 12 | (address & 0xfcU) | (offset - kDataPort), data);
  }
}

PciFunction* PciHost::decoding(std::uint64_t address, std::size_t size, std::uint64_t& offset) const {
  for (PciFunction* function : functions_) {
    if (function == nullptr) continue;
    const std::uint64_t start = function->decoded_at();
    if (start == 0 || address < start) continue;
    offset = address - start;
    if (offset < function->bar_bytes() && size <= function->bar_bytes() - offset) return function;
  }
  return nullptr;
}

void PciHost::Window::read(std::uint64_t offset, std::span<std::byte> data) {
  std::uint64_t inside = 0;
  PciFunction* function = host.decoding(host.window_start_ + offset, data.size(), inside);
  RegisterDevice* device = function != nullptr ? function->bar() : nullptr;
  if (device != nullptr) return device->read(inside, data);
  fill_ones(data);
  host.stray_.fetch_add(1, std::memory_order_relaxed);
}

void PciHost::Window::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint64_t inside = 0;
  PciFunction* function = host.decoding(host.window_start_ + offset, data.size(), inside);
  RegisterDevice* device = function != nullptr ? function->bar() : nullptr;
  if (device != nullptr) return device->write(inside, data);
  host.stray_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace floe::vmm
