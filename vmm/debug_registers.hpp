// The CPUs' debug registers as a watch over guest words: up to four kernel-virtual addresses, and on each vCPU an exit as soon as one of
// their 4 bytes is written.
//
// Whoever watches asks here, on one thread; the vCPUs take over what is asked for before they next enter the guest (Vcpu::arm_watches()),
// for which they are kicked, and note here what was hit. While anything is watched the guest's own hardware breakpoints do not work. Many
// hosts take the request and never fire (software KVM, nested KVM): write_watches_fire() of probe.hpp tells.
//
// Intel SDM volume 3, 19.2: DR0 to DR3 hold addresses, DR7 how they are watched, DR6 which was hit. A hit is a trap: the write is done.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/address.hpp"

namespace floe::vmm {

inline constexpr std::size_t kDebugSlots = 4;

// By slot; 0: not watched.
using DebugAddresses = std::array<std::uint64_t, kDebugSlots>;

// DR7 for 4-byte writes at those addresses.
constexpr std::uint64_t debug_control(const DebugAddresses& addresses) {
  constexpr std::uint64_t kExact = 0x700;  // LE, GE, and bit 10, which is always set
  std::uint64_t control = kExact;
  for (std::size_t slot = 0; slot < kDebugSlots; ++slot)
    if (addresses[slot] != 0) control |= std::uint64_t{0b11} << (2 * slot) | std::uint64_t{0b1101} << (16 + 4 * slot);
  return control;
}

class DebugRegisters {
 public:
  // Makes every vCPU leave the guest and come back to it.
  void set_kick(std::function<void()> kick) { kick_ = std::move(kick); }
  // Told of each hit that was not noted yet, by the vCPU's thread; must not block.
  void set_on_hit(std::function<void()> on_hit) { on_hit_ = std::move(on_hit); }

  // Watches a multiple of 4 in this slot; 0 ends that. What was hit there so far is forgotten. `on_hit` and the slot's take_hit() can still
  // tell of the last address once, by a vCPU that has not come back yet.
  void request(std::size_t slot, Kva address);

  // Whether the slot was hit since this was last asked.
  bool take_hit(std::size_t slot) { return hit_[slot].exchange(false, std::memory_order_acq_rel); }

  // Nothing was ever requested: a vCPU need not look further.
  bool unused() const { return !used_.load(std::memory_order_relaxed); }
  DebugAddresses requested() const;

  // A vCPU: DR6 of its exit, and the addresses that it had armed.
  void note(std::uint64_t dr6, const DebugAddresses& armed);
  void note_refusal() { refusals_.fetch_add(1, std::memory_order_relaxed); }

  std::uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  std::uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }  // KVM_SET_GUEST_DEBUG that failed

 private:
  std::array<std::atomic<std::uint64_t>, kDebugSlots> requested_{};
  std::array<std::atomic<bool>, kDebugSlots> hit_{};
  std::atomic<bool> used_{false};
  std::atomic<std::uint64_t> hits_{0}, refusals_{0};
  std::function<void()> kick_, on_hit_;
};

}  // namespace floe::vmm
