// Everything a running guest is captured for beside the beat of ticks: triggers (the scheduler is being thrown out, somebody waits for
// long, a watched variable has changed), the guest's own requests, the operator's, and the scenario that drives the guest.
//
// From begin(), at the guest's hello, to end(): before and after it nothing is ordered, and whoever asks is told so. What was ordered is
// answered whatever happens then: the guest in time, also when what it asked for takes longer.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "cli/live_watch.hpp"
#include "cli/on_demand.hpp"
#include "cli/periodic_run.hpp"
#include "cli/run_report.hpp"
#include "cli/scenario_host.hpp"
#include "engine/engine.hpp"
#include "freeze/bridge/calls.hpp"
#include "vmm/requests.hpp"

namespace floe::cli {

class RunCaptures {
 public:
  struct Owner {
    std::function<bool(std::uint32_t type, std::span<const std::byte> payload)> send;  // to the guest
    std::function<void(std::string)> note;                                             // for the manifest
    std::function<void(const std::string& line)> tell;                                 // for the user
    std::function<void()> late_taken;                                                  // by late(), or it could not be
    std::function<void(const std::string& text)> latched;                              // a program of the guest has failed, it says
    std::function<void()> words_read;                                                  // by last_words(), or there are none
    std::function<void()> scenario_ended;
  };
  struct Setting {
    bool nested = false;
    bool write_watches = false;  // debug registers fire on this host
    std::chrono::nanoseconds answer_limit = vmm::wire::kAnswerGiven;
    freeze::LatchName latch = {};
    bool has_scheduler = false;  // the run was given one
    std::size_t periodic = 0;    // captures, spread over...
    std::chrono::nanoseconds duration{};
    const freeze::scenario::Scenario* scenario = nullptr;  // may have no steps
  };
  RunCaptures(vmm::Vm& vm, SnapshotSeries& series, Setting setting, Owner owner);

  // Tasks that are to be stopped with the ticks go into `watching`, those that somebody awaits into `orders`.
  void begin(engine::scope& watching, engine::scope& orders);
  void end() { orders_ = nullptr; }
  // Just before end(): what has happened since the last poll still counts.
  void last_look();

  // Of this run, for threads other than the engine's, with set_thread_local() or without. It may outlive the run.
  freeze::SnapshotBridge bridge() { return on_demand_.bridge(); }

  // A line of the console, of the kernel or not: one that tells of a scheduler that was disabled is a reason for late(), once.
  void look_for_scheduler(std::string_view line);
  // The scheduler is failing, or its process has: a capture at once.
  void late();
  // The snapshots show a failure: more of them, until one has what the kernel says of it.
  void last_words();

  // A frame of the guest. True: it was a request, or an answer to the scenario.
  bool take(const vmm::wire::Frame& frame);
  void guest_gone() { guest_.close("the guest has gone down"); }
  // A line of the control socket, answered by a line.
  engine::task<std::string> answer(std::string request);

  const std::optional<freeze::scenario::ScenarioOutcome>& scenario() const { return scenario_; }
  void report(RunReport& report);

 private:
  engine::task<> take_late();
  engine::task<> take_latched();
  engine::task<> take_early();
  engine::task<> take_watched(std::string symbol);
  engine::task<> take_periodic(std::size_t index, PeriodicMoment when);
  engine::task<> read_last_words();
  template <class Done, class Request>
  void serve_in_time(Request request, engine::task_name name);
  using Refusal = engine::mailbox<std::string>;  // empty: it was done
  using Reply = engine::mailbox<freeze::KernelReply>;
  engine::task<> serve(vmm::wire::SnapshotRequest request, std::shared_ptr<Refusal> done);
  engine::task<> answer(vmm::wire::SnapshotRequest request, std::shared_ptr<Refusal> done);
  engine::task<> serve(vmm::wire::KernelOpRequest request, std::shared_ptr<Reply> done);
  engine::task<> answer(vmm::wire::KernelOpRequest request, std::shared_ptr<Reply> done);
  engine::task<> serve(std::string request, std::shared_ptr<engine::mailbox<std::string>> asker);
  void reply(const vmm::wire::SnapshotRequest& request, std::string refused);
  engine::task<> play();
  freeze::BridgeCalls::Doing for_bridge();
  engine::task<> watch_for_bridge(std::string symbol);

  SnapshotSeries& series_;
  Setting setting_;
  Owner owner_;
  freeze::BridgeCalls calls_;
  std::multiset<std::string> bridge_watches_;  // symbols that were asked for through the bridge, until they fire
  OnDemand on_demand_;
  LiveWatch live_;
  PeriodicRun periodic_;
  freeze::scenario::GuestControl guest_;
  RunScenarioHost scenario_host_;
  std::optional<freeze::scenario::ScenarioOutcome> scenario_;
  engine::scope* orders_ = nullptr;  // between begin() and end()
  bool begun_ = false;
  bool late_hinted_ = false;
  std::uint64_t malformed_ = 0;  // requests that nobody can read, and so nobody answers
};

}  // namespace floe::cli
