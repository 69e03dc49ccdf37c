#include "vmm/debug_registers.hpp"

namespace floe::vmm {

void DebugRegisters::request(std::size_t slot, Kva address) {
  if (requested_[slot].exchange(address.value, std::memory_order_acq_rel) == address.value) return;
  hit_[slot].store(false, std::memory_order_release);
  used_.store(true, std::memory_order_relaxed);
  if (kick_) kick_();
}

DebugAddresses DebugRegisters::requested() const {
  DebugAddresses addresses{};
  for (std::size_t slot = 0; slot < kDebugSlots; ++slot) addresses[slot] = requested_[slot].load(std::memory_order_acquire);
  return addresses;
}

void DebugRegisters::note(std::uint64_t dr6, const DebugAddresses& armed) {
  for (std::size_t slot = 0; slot < kDebugSlots; ++slot) {
    if ((dr6 >> slot & 1) == 0 || armed[slot] == 0) continue;
    // Of a watch that has ended, or moved on since this vCPU armed it.
    if (requested_[slot].load(std::memory_order_acquire) != armed[slot]) continue;
    hits_.fetch_add(1, std::memory_order_relaxed);
    if (!hit_[slot].exchange(true, std::memory_order_acq_rel) && on_hit_) on_hit_();
  }
}

}  // namespace floe::vmm
