// The devices that make a bare Vm a PC that a stock kernel boots on: serial port, CMOS clock, ACPI power registers, and a PCI
// host with one virtio-console.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "vmm/pci.hpp"
#include "vmm/power.hpp"
#include "vmm/queue_event.hpp"
#include "vmm/rtc.hpp"
#include "vmm/serial.hpp"
#include "vmm/virtio_console.hpp"
#include "vmm/vm.hpp"

namespace floe::vmm {

class Pc {
 public:
  // All run on vCPU threads (console_wake also on whichever thread serves the console) and must not block.
  struct Callbacks {
    std::function<void(std::span<const std::byte>)> serial_output;
    std::function<void()> console_wake;  // console().take() or service() has something to do
    std::function<void(PowerEvent)> power;
  };

  // Puts the devices on the VM's buses, before its vCPUs start. `vm` outlives the Pc. With `tlv_by_event` notifications of port 1's
  // transmit queue come through tlv_event(), whose fd somebody must then read; port 0's stay exits, for its driver spins until it is
  // served.
  static Result<std::unique_ptr<Pc>> create(Vm& vm, Callbacks callbacks, bool tlv_by_event = false);
  ~Pc();

  VirtioConsole& console() { return *console_; }
  Serial16550& serial() { return *serial_; }
  CmosRtc& rtc() { return rtc_; }
  QueueEvent* tlv_event() { return tlv_event_.get(); }  // null: exits

 private:
  Pc(Vm& vm, Callbacks callbacks);

  Callbacks callbacks_;
  IoapicLine serial_irq_;
  std::unique_ptr<Serial16550> serial_;
  CmosRtc rtc_;
  PciHost pci_;
  std::unique_ptr<PowerDevices> power_;
  std::unique_ptr<MsixVectors> console_vectors_;
  std::unique_ptr<VirtioConsole> console_;
  std::unique_ptr<QueueEvent> tlv_event_;
};

}  // namespace floe::vmm
