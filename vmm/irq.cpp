#include "vmm/irq.hpp"

#include <sys/eventfd.h>

#include <algorithm>

namespace floe::vmm {
namespace {

constexpr unsigned kPins = 24;        // of the IOAPIC
constexpr unsigned kLegacyPins = 16;  // of the two PICs

kvm_irq_routing_entry irqchip_entry(unsigned gsi, unsigned chip, unsigned pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = chip;
  entry.u.irqchip.pin = pin;
  return entry;
}

}  // namespace

IrqRouting::IrqRouting(int vm_fd) : vm_fd_(vm_fd) {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    table_.entries[table_.count++] = irqchip_entry(pin, KVM_IRQCHIP_IOAPIC, pin);
    if (pin < kLegacyPins)
      table_.entries[table_.count++] = irqchip_entry(pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, pin % 8);
  }
}

void IrqRouting::set_line(unsigned gsi, bool level) {
  kvm_irq_level line{};
  line.irq = gsi;
  line.level = level;
  ::ioctl(vm_fd_, KVM_IRQ_LINE, &line);  // fails only for a pin that does not exist
}

unsigned IrqRouting::allocate(unsigned count) {
  const std::lock_guard lock(mutex_);
  const unsigned first = next_gsi_;
  next_gsi_ += count;
  return first;
}

Result<> IrqRouting::route_msi(unsigned gsi, MsiMessage message) {
  const std::lock_guard lock(mutex_);
  auto* const end = table_.entries.data() + table_.count;
  auto* entry = std::find_if(table_.entries.data(), end, [gsi](const auto& e) { return e.gsi == gsi; });
  if (entry == end) {
    if (table_.count == table_.entries.size()) return fail("interrupt routing table full at GSI " + std::to_string(gsi));
    ++table_.count;
  }
  *entry = {};
  entry->gsi = gsi;
  entry->type = KVM_IRQ_ROUTING_MSI;
  entry->u.msi.address_lo = static_cast<std::uint32_t>(message.address);
  entry->u.msi.address_hi = static_cast<std::uint32_t>(message.address >> 32);
  entry->u.msi.data = message.data;
  const auto loaded = kvm::call(vm_fd_, kvm::kSetGsiRouting, &table_, "KVM_SET_GSI_ROUTING");
  if (!loaded) return fail(loaded.error());
  return {};
}

Result<> IrqRouting::bind_irqfd(unsigned gsi, int event_fd) {
  kvm_irqfd binding{};
  binding.fd = static_cast<std::uint32_t>(event_fd);
  binding.gsi = gsi;
  const auto bound = kvm::call(vm_fd_, KVM_IRQFD, &binding, "KVM_IRQFD");
  if (!bound) return fail(bound.error());
  return {};
}

void IoapicLine::set(bool level) {
  if (level == level_) return;
  level_ = level;
  routing_.set_line(gsi_, level);
}

Result<std::unique_ptr<MsixVectors>> MsixVectors::create(IrqRouting& routing, unsigned vectors) {
  auto sink = std::unique_ptr<MsixVectors>(new MsixVectors(routing));
  const unsigned first = routing.allocate(vectors);
  for (unsigned v = 0; v < vectors; ++v) {
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return fail_errno(errno, "eventfd for an MSI-X vector");
    sink->vectors_.push_back({std::move(event), first + v, false});
  }
  return sink;
}

void MsixVectors::route(unsigned vector, MsiMessage message) {
  if (vector >= vectors_.size()) return;
  Vector& v = vectors_[vector];
  if (!routing_.route_msi(v.gsi, message)) {
    ++failed_routes_;
    return;
  }
  if (!v.bound) v.bound = routing_.bind_irqfd(v.gsi, v.event.get()).has_value();
}

void MsixVectors::trigger(unsigned vector) {
  if (vector >= vectors_.size() || !vectors_[vector].bound) return;
  const std::uint64_t one = 1;
  // EAGAIN means that the counter is full, that is, an interrupt is pending already.
  [[maybe_unused]] const auto written = ::write(vectors_[vector].event.get(), &one, sizeof one);
}

}  // namespace floe::vmm
