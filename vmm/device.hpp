// What a device model is to the rest of the machine: something with registers at addresses, that raises interrupts.
//
// Register accesses arrive on the vCPU thread that made them, so a device guards its state by its own lock, and never waits
// for the engine thread while holding it. Data is little-endian, 1, 2, 4 or 8 bytes long, and hostile: offset and size may
// be anything inside the window, a read must fill all of `data`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

namespace floe::vmm {

class RegisterDevice {
 public:
  virtual ~RegisterDevice() = default;
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

// A level-triggered line (the serial port's IRQ 4). set() is cheap when the level does not change.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  virtual void set(bool level) = 0;
};

// MSI messages of one function, by MSI-X vector number. route() is called when the guest has programmed or unmasked a vector
// (and again when it changes), trigger() from any thread. Triggering an unrouted vector is a no-op.
struct MsiMessage {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
};
class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual void route(unsigned vector, MsiMessage message) = 0;
  virtual void trigger(unsigned vector) = 0;
};

// Address ranges to devices, for port I/O or MMIO. Filled before the first vCPU runs; lookups need no lock unless windows
// move (a PCI BAR does: the PCI host dispatches its own window).
class Bus {
 public:
  // False when [start, start + bytes) overlaps what is already there.
  bool add(std::uint64_t start, std::uint64_t bytes, RegisterDevice& device);
  // Unclaimed reads give all ones, unclaimed writes are dropped; both return false, so that they can be counted.
  bool read(std::uint64_t address, std::span<std::byte> data) const;
  bool write(std::uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Window {
    std::uint64_t bytes;
    RegisterDevice* device;
  };
  const Window* find(std::uint64_t address, std::size_t size, std::uint64_t& offset) const;
  std::map<std::uint64_t, Window> windows_;
};

}  // namespace floe::vmm
