// How a machine ends from inside: the ACPI power-management block (power-off), the FADT's reset register and the keyboard
// controller's reset line (reboot, and a panic with panic=-1), and pvpanic for guests that have its driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "vmm/device.hpp"
#include "vmm/irq.hpp"

namespace floe::vmm {

enum class PowerEvent { kPowerOff, kReset, kPvpanic };

class PowerDevices {
 public:
  // `on_event` runs on the vCPU thread that wrote the register and must not block. Adds its registers to `ports`.
  PowerDevices(Bus& ports, std::function<void(PowerEvent)> on_event);

 private:
  // PM1a_STS/EN (0x600, 0x602), PM1a_CNT (0x604). There is no button, so no event is ever raised.
  class Pm1 final : public RegisterDevice {
   public:
    explicit Pm1(PowerDevices& owner) : owner_(owner) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    PowerDevices& owner_;
    std::atomic<std::uint16_t> enable_{0};
    std::atomic<std::uint16_t> control_{1};  // SCI_EN: the machine is in ACPI mode from the start
  };
  // A register whose write of a certain value resets, and that reads 0.
  class ResetRegister final : public RegisterDevice {
   public:
    ResetRegister(PowerDevices& owner, std::uint8_t value) : owner_(owner), value_(value) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    PowerDevices& owner_;
    std::uint8_t value_;
  };
  class Pvpanic final : public RegisterDevice {
   public:
    explicit Pvpanic(PowerDevices& owner) : owner_(owner) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    PowerDevices& owner_;
  };

  std::function<void(PowerEvent)> on_event_;
  Pm1 pm1_{*this};
  ResetRegister reset_;
  ResetRegister keyboard_;
  Pvpanic pvpanic_{*this};
};

}  // namespace floe::vmm
