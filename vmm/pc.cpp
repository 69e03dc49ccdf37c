#include "vmm/pc.hpp"

#include "vmm/layout.hpp"

namespace floe::vmm {

Pc::Pc(Vm& vm, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), serial_irq_(vm.irqs(), layout::kSerialIrq), pci_(layout::kPciWindow, layout::kPciWindowBytes) {
  serial_ = std::make_unique<Serial16550>(serial_irq_, callbacks_.serial_output);
  power_ = std::make_unique<PowerDevices>(vm.ports(), callbacks_.power);
  pci_.set_reset_callback([this] { callbacks_.power(PowerEvent::kReset); });
}

Pc::~Pc() = default;

Result<std::unique_ptr<Pc>> Pc::create(Vm& vm, Callbacks callbacks, bool tlv_by_event) {
  auto pc = std::unique_ptr<Pc>(new Pc(vm, std::move(callbacks)));
  constexpr unsigned kVectors = VirtioConsole::kQueues + 1;
  auto vectors = MsixVectors::create(vm.irqs(), kVectors);
  if (!vectors) return fail(std::move(vectors.error()));
  pc->console_vectors_ = std::move(*vectors);
  pc->console_ = std::make_unique<VirtioConsole>(vm.ram(), *pc->console_vectors_);
  pc->console_->set_output_callback(pc->callbacks_.console_wake);
  const bool placed = vm.ports().add(layout::kSerialPort, Serial16550::kPorts, *pc->serial_) &&
                      vm.ports().add(layout::kRtcPort, CmosRtc::kPorts, pc->rtc_) &&
                      vm.ports().add(layout::kPciConfigPort, PciHost::kConfigPorts, pc->pci_.config_ports()) &&
                      vm.mmio().add(layout::kEcam, layout::kEcamBytes, pc->pci_.ecam()) &&
                      vm.mmio().add(layout::kPciWindow, layout::kPciWindowBytes, pc->pci_.window()) &&
                      pc->pci_.add(1, pc->console_->function());
  if (!placed) return fail("two devices of the machine claim the same address");
  if (!tlv_by_event) return pc;
  auto event = QueueEvent::create(vm.fd(), pc->console_->function(), VirtioConsole::kTlvTransmitQueue);
  if (!event) return fail(std::move(event.error()));
  pc->tlv_event_ = std::move(*event);
  return pc;
}

}  // namespace floe::vmm
