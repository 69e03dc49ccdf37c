// When to look at watched words: every few milliseconds, and as soon as a debug register tells of a write.
//
//   WatchBeat beat(2ms, fires ? &vm.debug_registers() : nullptr);   // before the vCPUs start
//   while (co_await beat.next()) watch.poll();
#pragma once

#include <chrono>

#include "engine/engine.hpp"
#include "vmm/debug_registers.hpp"

namespace floe::freeze {

class WatchBeat {
 public:
  // On the loop's thread, and before vCPUs run, for it sets `hardware`'s on_hit. They have stopped before it goes.
  WatchBeat(std::chrono::nanoseconds period, vmm::DebugRegisters* hardware);
  ~WatchBeat();
  WatchBeat(const WatchBeat&) = delete;
  WatchBeat& operator=(const WatchBeat&) = delete;

  // Until the period since the last look is over, or a write is told. One told between two looks ends the next wait at once.
  engine::task<> next();

 private:
  std::chrono::nanoseconds period_;
  vmm::DebugRegisters* hardware_;
  engine::mailbox<int> told_;
};

}  // namespace floe::freeze
