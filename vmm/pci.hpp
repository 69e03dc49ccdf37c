// The PCI host of the machine: bus 0, functions 00:NN.0, found by config type 1 (ports 0xCF8-0xCFF) and by ECAM, and one memory
// window below 4 GiB inside which each function's BAR 0 may sit.
//
// The guest places and moves BARs by itself, so the window is dispatched here and not by the Bus: an access goes to the
// function that decodes its address at that moment. Everything that is not there reads all ones.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <utility>

#include "base/may_block.hpp"
#include "vmm/device.hpp"

namespace floe::vmm {

// The first 256 bytes of a function's configuration space: values and which of their bits the guest may write.
// No lock: it belongs to a function, which has one.
class PciConfigSpace {
 public:
  static constexpr std::size_t kBytes = 256;
  static constexpr unsigned kCommand = 0x04, kStatus = 0x06, kBar0 = 0x10, kCapabilities = 0x34;
  static constexpr std::uint16_t kCommandMemory = 1U << 1, kCommandBusMaster = 1U << 2;

  struct Identity {
    std::uint16_t vendor = 0, device = 0;
    std::uint8_t revision = 0;
    std::uint32_t class_code = 0;  // 24 bits: class, subclass, interface
    std::uint16_t subsystem_vendor = 0, subsystem = 0;
  };
  explicit PciConfigSpace(const Identity& identity);

  // A 32-bit non-prefetchable memory BAR 0 of `bytes` (a power of two).
  void add_bar0(std::uint32_t bytes);
  // Appends a capability (its id and `body`, which starts behind the next pointer); returns its offset.
  unsigned add_capability(std::uint8_t id, std::span<const std::byte> body);

  // Offsets past the end read as zero, which ends the list of extended capabilities; writes there do nothing.
  void read(unsigned offset, std::span<std::byte> data) const;
  void write(unsigned offset, std::span<const std::byte> data);
  // Whether a write of `size` bytes at `offset` touches [start, start + bytes).
  static bool touches(unsigned offset, std::size_t size, unsigned start, std::size_t bytes);

  std::uint16_t get16(unsigned offset) const;
  std::uint32_t get32(unsigned offset) const;
  void set(unsigned offset, std::uint64_t value, std::size_t bytes);
  void allow(unsigned offset, std::uint64_t mask, std::size_t bytes);
  std::uint16_t command() const { return get16(kCommand); }
  std::span<const std::byte> image() const { return bytes_; }

 private:
  std::array<std::byte, kBytes> bytes_{};
  std::array<std::byte, kBytes> writable_{};
  unsigned next_capability_ = 0x40;
  unsigned last_pointer_ = kCapabilities;
};

// One function. Accesses arrive on vCPU threads; `offset` is below 4096 and the access stays within its dword.
class PciFunction {
 public:
  // `bar_bytes`: the size of BAR 0, 0 for none.
  explicit PciFunction(std::uint64_t bar_bytes = 0) : bar_bytes_(bar_bytes) {}
  virtual ~PciFunction() = default;
  virtual void config_read(unsigned offset, std::span<std::byte> data) = 0;
  virtual void config_write(unsigned offset, std::span<const std::byte> data) = 0;
  // What is behind BAR 0, if there is one.
  virtual RegisterDevice* bar() { return nullptr; }

  // Where BAR 0 is decoded now, 0 when nowhere (not assigned, outside of the host's window, or memory decoding off).
  std::uint64_t decoded_at() const { return decoded_at_.load(std::memory_order_acquire); }
  std::uint64_t bar_bytes() const { return bar_bytes_; }

 protected:
  // To be called after each config write that may have moved the BAR; true when it moved. Under the function's lock.
  bool update_decode(const PciConfigSpace& config);

 private:
  friend class PciHost;
  std::uint64_t window_start_ = 0, window_bytes_ = 0;  // set by PciHost::add
  const std::uint64_t bar_bytes_;
  std::atomic<std::uint64_t> decoded_at_{0};
};

class PciHost {
 public:
  static constexpr unsigned kDevices = 32;
  static constexpr std::uint64_t kConfigPorts = 8;       // from 0xCF8
  static constexpr std::uint64_t kEcamBytes = 1U << 20;  // bus 0

  // The guest-physical window that BARs may be placed in, as the DSDT announces it. Comes with the host bridge as 00:00.0.
  PciHost(std::uint64_t window_start, std::uint64_t window_bytes);
  PciHost(const PciHost&) = delete;
  PciHost& operator=(const PciHost&) = delete;

  // Puts `function` at 00:device.0 before the first vCPU runs; it must outlive the host. False when the place is taken or
  // does not exist.
  bool add(unsigned device, PciFunction& function);

  // Called, on the vCPU thread, when the guest asks for a reset at port 0xCF9 (`reboot=p`).
  void set_reset_callback(std::function<void()> callback) { on_reset_ = std::move(callback); }

  RegisterDevice& config_ports() { return config_ports_; }  // ports 0xCF8-0xCFF
  RegisterDevice& ecam() { return ecam_; }                  // kEcamBytes of MMIO
  RegisterDevice& window() { return window_; }              // the whole memory window

  std::uint64_t stray_accesses() const { return stray_.load(std::memory_order_relaxed); }  // in the window, at nobody

 private:
  struct ConfigPorts final : RegisterDevice {
    explicit ConfigPorts(PciHost& owner) : host(owner) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;
    PciHost& host;
  };
  struct Ecam final : RegisterDevice {
    explicit Ecam(PciHost& owner) : host(owner) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;
    PciHost& host;
  };
  struct Window final : RegisterDevice {
    explicit Window(PciHost& owner) : host(owner) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;
    PciHost& host;
  };
  class HostBridge final : public PciFunction {
   public:
    HostBridge();
    void config_read(unsigned offset, std::span<std::byte> data) override;
    void config_write(unsigned offset, std::span<const std::byte> data) override;

   private:
    Checked<std::mutex> mutex_;
    PciConfigSpace config_;
  };

  // The function that a config address (bus, device, function, register) means, or null.
  PciFunction* at(std::uint64_t ecam_offset) const;
  PciFunction* decoding(std::uint64_t address, std::size_t size, std::uint64_t& offset) const;
  void config_read(std::uint64_t ecam_offset, std::span<std::byte> data) const;
  void config_write(std::uint64_t ecam_offset, std::span<const std::byte> data) const;

  std::uint64_t window_start_, window_bytes_;
  std::array<PciFunction*, kDevices> functions_{};
  HostBridge bridge_;
  std::atomic<std::uint32_t> address_{0};  // the last dword written to 0xCF8
  std::atomic<std::uint8_t> reset_control_{0};
  std::atomic<std::uint64_t> stray_{0};
  std::function<void()> on_reset_;
  ConfigPorts config_ports_{*this};
  Ecam ecam_{*this};
  Window window_{*this};
};

}  // namespace floe::vmm
