// Frozen time, as an object: while it lives, no vCPU runs; leaving its scope lets the guest go on, whatever happened in between.
//
// Inside, nothing may allocate, block, hash, log or touch a file: debug builds end the program on an allocation. One at a time.
#pragma once

#include <optional>

#include "base/no_alloc.hpp"
#include "vmm/vm.hpp"

namespace floe::freeze {

class Frozen {
 public:
  using Clock = vmm::Clock;

  // Kicks every vCPU and waits until all are parked or `limit` has passed.
  Frozen(vmm::Vm& vm, Clock::duration limit) : vm_(vm), kicked_at_(Clock::now()) {
    no_alloc_.emplace();
    complete_ = vm_.freeze(kicked_at_ + limit);
    parked_at_ = Clock::now();
  }
  ~Frozen() { thaw(); }
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;

  // All vCPUs parked. Otherwise the guest is not to be read: some of it may still run.
  bool complete() const { return complete_; }

  void thaw() {
    if (!no_alloc_) return;
    thaw_began_at_ = Clock::now();
    vm_.thaw();
    thawed_at_ = Clock::now();
    no_alloc_.reset();
  }

  Clock::time_point kicked_at() const { return kicked_at_; }
  Clock::time_point parked_at() const { return parked_at_; }
  Clock::time_point thaw_began_at() const { return thaw_began_at_; }
  Clock::time_point thawed_at() const { return thawed_at_; }

 private:
  vmm::Vm& vm_;
  std::optional<NoAllocScope> no_alloc_;
  bool complete_ = false;
  Clock::time_point kicked_at_, parked_at_, thaw_began_at_, thawed_at_;
};

}  // namespace floe::freeze
