// One run of one guest, from power-on to the last line of its manifest: the coroutine that `floe run` awaits.
//
//   boot -> hello over console port 1 -> snapshots at each tick, COMMAND's output -> COMMAND ends, the duration is over, the guest goes
//   down or somebody stops it -> the guest is asked to power off, then stopped -> the newest snapshot is read -> the verdict
//
// Everything that happens reaches one task through one mailbox, in the order it happened: bytes from the guest, power events, vCPUs that
// ended, deadlines, signals.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/deaf_port.hpp"
#include "cli/run_captures.hpp"
#include "cli/run_folder.hpp"
#include "cli/run_options.hpp"
#include "cli/run_report.hpp"
#include "cli/snapshot_series.hpp"
#include "engine/engine.hpp"
#include "vmm/kernel_image.hpp"
#include "vmm/pc.hpp"

namespace floe::cli {

// All that a run needs to know, with every input read and checked.
struct RunPlan {
  RunOptions options;
  vmm::KernelImage kernel;
  std::vector<std::byte> initrd;
  std::string command_line;
  freeze::scenario::Scenario scenario;    // without steps: none
  std::vector<std::byte> scheduler_file;  // the scheduler's executable, for the failure dump; empty: none, or not on this host
  bool nested = false;                    // inside the outer machine of --host tcg: everything takes longer
};

// What a run is before it began: the part of its report that follows from the plan.
RunReport report_of(const RunPlan& plan);

class GuestRun {
 public:
  // `plan` and `folder` outlive the run.
  GuestRun(const RunPlan& plan, RunFolder& folder);
  ~GuestRun();

  // Runs the guest and fills the report. Ends in every case; the only error is one of the engine itself.
  engine::task<> run();

  // From the same thread: asks the run to stop, for this signal.
  void interrupt(int signal_number);

  // From the same thread: a line of the control socket, answered by a line.
  engine::task<std::string> answer(std::string request);

  // Asked while a vCPU does not park: true gives the freeze up. It neither blocks nor allocates.
  void give_up_rendezvous(std::function<bool()> give_up) { give_up_ = std::move(give_up); }

  RunReport& report() { return report_; }

 private:
  enum class Phase { kBooting, kRunning, kStopping, kEnded };
  struct Event {
    enum class Kind {
      kOutput,
      kPower,
      kVcpu,
      kBootTimeout,
      kDurationOver,
      kStopTimeout,
      kPanicTimeout,
      kTicksFailed,
      kSchedulerFailed,  // a snapshot shows it
      kLateTaken,
      kLastWords,
      kScenarioEnded,
      kProgress,
      kInterrupt
    } kind = Kind::kOutput;
    vmm::PowerEvent power = vmm::PowerEvent::kPowerOff;
    vmm::VcpuEvent vcpu;
    int signal_number = 0;
  };

  Result<> start_machine();
  engine::task<> conduct();
  void handle(const Event& event);
  void take_output(int rounds);
  void take_console(std::span<const std::byte> bytes);
  void look_for_panic(std::string_view line);
  void start_captures();
  void post(Event::Kind kind);
  bool send(std::uint32_t type, std::span<const std::byte> payload);
  void conclude_scheduler();
  void take_wire(std::span<const std::byte> bytes);
  void handle_frame(const vmm::wire::Frame& frame);
  void handle_hello(std::span<const std::byte> payload);
  void handle_outcome(std::span<const std::byte> payload);
  void handle_scheduler(std::span<const std::byte> payload);
  void handle_power(vmm::PowerEvent event);
  Verdict scenario_left_over() const;
  void went_down(Verdict verdict);
  void request_stop(Verdict verdict, std::chrono::nanoseconds grace);
  std::chrono::nanoseconds stop_grace() const;
  void conclude(Verdict verdict);
  void after(std::chrono::nanoseconds delay, Event::Kind kind);
  engine::task<> alarm(std::chrono::nanoseconds delay, Event::Kind kind);
  engine::task<> serve_notifications();
  engine::task<> keep_history(engine::task<> part);
  void show_progress();
  void wake_output();
  void note(std::string text);
  std::uint64_t elapsed_ms() const;
  void fill_report();

  const RunPlan& plan_;
  RunFolder& folder_;
  RunReport report_;
  engine::mailbox<Event> events_;
  std::atomic<bool> output_announced_{false};

  // Serial bytes, put in by vCPU threads.
  std::mutex serial_mutex_;
  std::vector<std::byte> serial_;
  std::uint64_t serial_lost_ = 0;

  std::optional<DeafPort> deaf_port_;
  std::unique_ptr<vmm::Vm> vm_;
  std::unique_ptr<vmm::Pc> pc_;
  std::unique_ptr<SnapshotSeries> series_;
  std::unique_ptr<RunCaptures> captures_;
  std::function<bool()> give_up_;
  engine::scope* alarms_ = nullptr;
  engine::scope* ticks_ = nullptr;
  engine::scope* orders_ = nullptr;  // captures that somebody awaits: answered before the run ends

  Phase phase_ = Phase::kBooting;
  vmm::Clock::time_point started_;
  vmm::wire::Decoder decoder_;
  vmm::wire::Encoder encoder_;
  std::vector<std::byte> scratch_;
  std::string console_line_;
  bool write_watches_ = false;  // debug registers fire on this host
  bool crashed_ = false;        // the guest went down by a crash: its last state is worth a snapshot
  bool stop_timer_set_ = false;
  bool interrupted_ = false;
  bool stop_after_late_ = false;  // the scheduler's process failed: one more snapshot, then the end
};

}  // namespace floe::cli
