// The host's end of what init does for a scenario (vmm/requests.hpp, CTRQ): each request awaited, each process known by its number.
//
// Engine thread only. The guest is hostile: an answer nobody waits for and the end of a process nobody started are ignored and counted.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/mailbox.hpp"
#include "engine/task.hpp"
#include "vmm/requests.hpp"

namespace floe::freeze::scenario {

class GuestControl {
 public:
  // Sends one frame to the guest, false when it takes none.
  using Send = std::function<bool(std::uint32_t type, std::span<const std::byte> payload)>;
  explicit GuestControl(Send send) : send_(std::move(send)) {}
  GuestControl(const GuestControl&) = delete;
  GuestControl& operator=(const GuestControl&) = delete;

  // Every frame of the guest. True: it was for here alone. The ends of the run's own scheduler and command (SCDX, WRES) are noted too, but
  // are others' business as well: false.
  bool take(std::uint32_t type, std::span<const std::byte> payload);
  // The guest has gone down: whoever waits, now or later, gets this error.
  void close(std::string reason);

  // The error is init's: its errno, its reason.
  template <class Action>
  engine::task<vmm::wire::ControlReply> ask(Action action) {
    return exchange(vmm::wire::ControlAction(std::move(action)));
  }

  // `process.process` is chosen here. The number by which the others know it.
  engine::task<std::uint32_t> start(vmm::wire::StartProcess process);
  engine::task<> signal(std::uint32_t process, std::uint8_t signal);
  engine::task<vmm::wire::Outcome> ended(std::uint32_t process);
  // Known to have ended?
  const vmm::wire::Outcome* outcome(std::uint32_t process) const;

  std::uint64_t ignored() const { return ignored_; }

 private:
  using Reply = vmm::wire::ControlReply;
  using Outcome = vmm::wire::Outcome;

  engine::task<Reply> exchange(vmm::wire::ControlAction action);
  void note_end(std::uint32_t process, const Outcome& outcome);

  Send send_;
  std::string closed_;  // why, when it is
  std::uint32_t last_id_ = 0;
  std::uint32_t last_process_ = vmm::wire::kFirstProcess - 1;
  std::uint64_t ignored_ = 0;
  std::map<std::uint32_t, engine::mailbox<Reply>*> asked_;  // by id; each lives in the frame of an ask()
  std::multimap<std::uint32_t, engine::mailbox<Outcome>*> awaited_;
  // Started and not known to have ended: null. The run's own are here from the start.
  std::map<std::uint32_t, std::optional<Outcome>> processes_{{vmm::wire::kRunScheduler, {}}, {vmm::wire::kRunCommand, {}}};
};

}  // namespace floe::freeze::scenario
