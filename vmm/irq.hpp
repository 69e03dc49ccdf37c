// Interrupt routes of one VM: the in-kernel PIC and IOAPIC pins, and MSI messages behind irqfds.
//
// KVM_SET_GSI_ROUTING replaces the whole table each time, so this class keeps it and always repeats the irqchip's own entries
// (leaving them out kills every line interrupt).
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/may_block.hpp"
#include "vmm/device.hpp"
#include "vmm/kvm.hpp"

namespace floe::vmm {

class IrqRouting {
 public:
  // `vm_fd` must outlive this object.
  explicit IrqRouting(int vm_fd);

  // Raises or lowers an IOAPIC/PIC pin (KVM_IRQ_LINE).
  void set_line(unsigned gsi, bool level);

  // Points `gsi` (24 or above, given out by allocate()) at an MSI message and loads the table.
  Result<> route_msi(unsigned gsi, MsiMessage message);
  unsigned allocate(unsigned count);
  // Binds an eventfd to a gsi: writing it injects the interrupt, from any thread.
  Result<> bind_irqfd(unsigned gsi, int event_fd);

 private:
  int vm_fd_;
  Checked<std::mutex> mutex_;
  kvm::RoutingTable table_;
  unsigned next_gsi_ = 24;
};

// An IOAPIC pin as a level line.
class IoapicLine final : public InterruptLine {
 public:
  IoapicLine(IrqRouting& routing, unsigned gsi) : routing_(routing), gsi_(gsi) {}
  void set(bool level) override;

 private:
  IrqRouting& routing_;
  unsigned gsi_;
  bool level_ = false;
};

// The MSI-X vectors of one PCI function, each behind an eventfd of its own.
class MsixVectors final : public MsiSink {
 public:
  static Result<std::unique_ptr<MsixVectors>> create(IrqRouting& routing, unsigned vectors);
  void route(unsigned vector, MsiMessage message) override;
  void trigger(unsigned vector) override;
  std::uint64_t failed_routes() const { return failed_routes_; }

 private:
  explicit MsixVectors(IrqRouting& routing) : routing_(routing) {}
  struct Vector {
    UniqueFd event;
    unsigned gsi = 0;
    bool bound = false;
  };
  IrqRouting& routing_;
  std::vector<Vector> vectors_;
  std::uint64_t failed_routes_ = 0;
};

}  // namespace floe::vmm
