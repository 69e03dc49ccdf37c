// Frozen time, as an object: while it lives, no vCPU runs; leaving its scope lets the guest go on, whatever happened in between.
//
// Inside, nothing may allocate, block, hash, log or touch a file: debug builds end the program on an allocation, on a lock or a file of
// ours, and on handing anything to the engine (base/no_alloc.hpp, base/may_block.hpp). One at a time.
#pragma once

#include <optional>

#include "base/no_alloc.hpp"
#include "vmm/vm.hpp"

namespace floe::freeze {

class Frozen {
 public:
  using Clock = vmm::Clock;

  // Kicks every vCPU and waits until all have stopped or `limit` has passed.
  Frozen(vmm::Vm& vm, Clock::duration limit) : vm_(vm), kicked_at_(Clock::now()), limit_(kicked_at_ + limit) {
    no_alloc_.emplace();
    complete_ = vm_.stop_vcpus(limit_);
    stopped_at_ = Clock::now();
  }
  ~Frozen() { thaw(); }
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;

  // All vCPUs have stopped. Otherwise the guest is not to be read: some of it may still run.
  bool complete() const { return complete_; }

  // The vCPUs go on to capture their state; true when all have, within the same limit. Until then Vcpu::state() is not to be read.
  bool await_states() { return complete_ && vm_.await_states(limit_); }

  void thaw() {
    if (!no_alloc_) return;
    thaw_began_at_ = Clock::now();
    thawed_at_ = vm_.thaw();
    no_alloc_.reset();
  }

  Clock::time_point kicked_at() const { return kicked_at_; }
  Clock::time_point stopped_at() const { return stopped_at_; }
  Clock::time_point thaw_began_at() const { return thaw_began_at_; }
  Clock::time_point thawed_at() const { return thawed_at_; }  // the last vCPU was let go: vmm::Vm::thaw

 private:
  vmm::Vm& vm_;
  std::optional<NoAllocScope> no_alloc_;
  bool complete_ = false;
  Clock::time_point kicked_at_, limit_, stopped_at_, thaw_began_at_, thawed_at_;
};

}  // namespace floe::freeze
