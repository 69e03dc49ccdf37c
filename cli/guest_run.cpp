#include "cli/guest_run.hpp"

#include <fmt/format.h>

#include <xxhash.h>
#include <algorithm>

#include "cli/control.hpp"
#include "cli/json.hpp"
#include "vmm/boot.hpp"
#include "vmm/guest_plan.hpp"
#include "vmm/probe.hpp"
#include "walkers/scx/sched.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;
using vmm::Clock;
namespace wire = vmm::wire;

constexpr std::size_t kMostSerialBytes = 8u << 20;  // waiting for the engine thread
constexpr std::size_t kMostLineBytes = 1024;        // of a console line that is looked at

// How often the ports are looked at before everybody else gets a turn (a guest that floods them must not hold the engine), and
// when the guest has gone down and what it said before matters.
constexpr std::size_t kMostQueuedBytes = 16u << 20;
constexpr int kOutputRounds = 4;
constexpr int kLastRounds = 64;

std::string hash_text(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string describe(const wire::Outcome& outcome) {
  switch (outcome.kind) {
    case wire::Outcome::Kind::kExited:
      return fmt::format("exited with {}", outcome.code);
    case wire::Outcome::Kind::kSignalled:
      return fmt::format("was killed by signal {}", outcome.code);
    default:
      return fmt::format("could not be started: {}", std::string(std::strerror(outcome.code)));
  }
}

bool succeeded(const wire::Outcome& outcome) {
  return outcome.kind == wire::Outcome::Kind::kExited && outcome.code == 0;
}

// Of a scheduler whose end no snapshot shows. Without a reason where the words have none.
Verdict verdict_of(const freeze::EndWords& words) {
  if (!words.exit_kind || !walkers::scx::is_error(*words.exit_kind)) return {Exit::kScheduler, ""};
  return {walkers::scx::is_stall(*words.exit_kind) ? Exit::kStall : Exit::kScheduler,
          fmt::format("the scheduler failed: {} (exit kind {})", walkers::scx::exit_kind_name(*words.exit_kind), *words.exit_kind)};
}

}  // namespace

RunReport report_of(const RunPlan& plan) {
  const RunOptions& options = plan.options;
  RunReport report;
  report.kernel_path = plan.kernel.path;
  report.kernel_hash = hash_text(plan.kernel.bytes);
  report.command_line = plan.command_line;
  report.command = options.command;
  report.scheduler = options.scheduler;
  report.cpus = options.cpus;
  report.memory_mib = options.memory_mib;
  report.host_mode = plan.nested ? "tcg" : "kvm";
  report.host_retries = options.inside ? options.inside->retries : 0;
  return report;
}

GuestRun::GuestRun(const RunPlan& plan, RunFolder& folder) : plan_(plan), folder_(folder), report_(report_of(plan)) {}

GuestRun::~GuestRun() {
  if (vm_) vm_->stop();
}

engine::task<> GuestRun::run() {
  started_ = Clock::now();
  engine::worker_pool prober(1);
  const auto probe = [] { return vmm::write_watches_fire(); };
  const auto fire = co_await prober.run(probe);
  if (fire.is_error()) report_.notes.push_back("words are polled: " + fire.error().message);
  write_watches_ = fire && *fire;
  const auto started = start_machine();
  if (!started) {
    report_.verdict = {started.error().code == ENOMEM || started.error().code == 0 ? Exit::kUsage : Exit::kHostCannot,
                       started.error().message};
    co_return engine::ok;
  }
  report_.phase = "booting";
  const auto conducted = co_await conduct();
  if (conducted.is_error()) conclude({Exit::kBug, conducted.error().message});
  captures_->end();
  vm_->stop();
  take_output(kLastRounds);
  std::vector<std::byte> rest;
  pc_->console().final_drain(vmm::VirtioConsole::kConsolePort, rest);
  take_console(rest);
  rest.clear();
  pc_->console().final_drain(vmm::VirtioConsole::kTlvPort, rest);
  take_wire(rest);
  decoder_.finish();
  take_wire({});
  const auto read = co_await series_->read_newest();
  if (read.is_error()) report_.notes.push_back(read.error().message);
  conclude_scheduler();
  const auto dumped = co_await series_->dump_failure();
  if (dumped.is_error()) report_.notes.push_back(dumped.error().message);
  if (report_.verdict.code != Exit::kPass || plan_.options.keep_snapshots) {
    const auto kept = co_await series_->keep();
    if (kept.is_error()) report_.notes.push_back(kept.error().message);
  }
  fill_report();
  co_return engine::ok;
}

Result<> GuestRun::start_machine() {
  auto vm = vmm::Vm::create({.cpus = plan_.options.cpus, .memory_bytes = plan_.options.memory_bytes()});
  if (!vm) return fail(std::move(vm.error()));
  vm_ = std::move(*vm);
  vmm::Pc::Callbacks callbacks;
  callbacks.serial_output = [this](std::span<const std::byte> bytes) {
    {
      const std::lock_guard lock(serial_mutex_);
      const std::size_t room = kMostSerialBytes - std::min(kMostSerialBytes, serial_.size());
      const std::size_t taken = std::min(room, bytes.size());
      serial_.insert(serial_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
      serial_lost_ += bytes.size() - taken;
    }
    wake_output();
  };
  callbacks.console_wake = [this] { wake_output(); };
  callbacks.power = [this](vmm::PowerEvent what) {
    Event event;
    event.kind = Event::Kind::kPower;
    event.power = what;
    events_.post(std::move(event));
  };
  auto pc = vmm::Pc::create(*vm_, std::move(callbacks), vmm::notify_by_event(vmm::usable_cpus()));
  if (!pc) return fail(std::move(pc.error()));
  pc_ = std::move(*pc);
  if (const std::uint64_t port = plan_.options.deaf_port; port != 0) {
    if (!vm_->ports().add(port, 1, deaf_port_.emplace())) return fail(fmt::format("--test-deaf-port {}: a device is there", port));
  }
  const auto loaded = vmm::load_linux(vm_->ram(), {&plan_.kernel, plan_.initrd, plan_.command_line, plan_.options.cpus});
  if (!loaded) return loaded;
  const auto entry = vmm::set_entry_registers(vm_->vcpu(0).fd(), plan_.kernel);
  if (!entry) return entry;
  auto series = SnapshotSeries::create(*vm_, *pc_, plan_.options, plan_.nested, plan_.scheduler_file, folder_);
  if (!series) return fail(std::move(series.error()));
  series_ = std::move(*series);
  vm_->set_give_up(give_up_);
  series_->on_failure([this] { post(Event::Kind::kSchedulerFailed); });
  start_captures();
  vm_->start([this](const vmm::VcpuEvent& what) {
    Event event;
    event.kind = Event::Kind::kVcpu;
    event.vcpu = what;
    events_.post(std::move(event));
  });
  series_->count_vcpus();
  return {};
}

void GuestRun::start_captures() {
  RunCaptures::Owner owner;
  owner.send = [this](std::uint32_t type, std::span<const std::byte> payload) { return send(type, payload); };
  owner.note = [this](std::string text) { note(std::move(text)); };
  owner.tell = [this](const std::string& line) {
    if (!plan_.options.quiet && !plan_.options.json) folder_.print(RunFolder::Stream::kErr, "floe: " + printable(line) + "\n");
  };
  owner.late_taken = [this] { post(Event::Kind::kLateTaken); };
  owner.words_read = [this] { post(Event::Kind::kLastWords); };
  owner.latched = [this](const std::string& text) { conclude({Exit::kScheduler, printable(text)}); };
  owner.scenario_ended = [this] { post(Event::Kind::kScenarioEnded); };
  RunCaptures::Setting setting;
  setting.nested = plan_.nested;
  setting.write_watches = write_watches_;
  if (!plan_.options.latch.empty()) setting.latch = freeze::parse_latch(plan_.options.latch).value();
  setting.has_scheduler = !plan_.options.scheduler.empty();
  setting.periodic = plan_.options.periodic;
  setting.duration = plan_.options.duration;
  setting.scenario = &plan_.scenario;
  captures_ = std::make_unique<RunCaptures>(*vm_, *series_, setting, std::move(owner));
}

// Any thread.
void GuestRun::post(Event::Kind kind) {
  Event event;
  event.kind = kind;
  events_.post(std::move(event));
}

// Any thread. One event stands for any number of bytes.
void GuestRun::wake_output() {
  if (!output_announced_.exchange(true, std::memory_order_acq_rel)) events_.post({});
}

// What comes out of the ports after the guest was stopped sets no alarm any more.
void GuestRun::after(std::chrono::nanoseconds delay, Event::Kind kind) {
  if (alarms_) alarms_->spawn(alarm(delay, kind), "alarm");
}

engine::task<> GuestRun::alarm(std::chrono::nanoseconds delay, Event::Kind kind) {
  const auto slept = co_await engine::sleep_for(delay);
  if (!slept) co_return engine::ok;
  post(kind);
  co_return engine::ok;
}

// Where the guest's notifications of port 1 are events: what was made available moves into the port's buffer, and from there as ever.
engine::task<> GuestRun::serve_notifications() {
  vmm::QueueEvent& event = *pc_->tlv_event();
  std::uint64_t count = 0;
  const auto into = std::as_writable_bytes(std::span(&count, 1));
  for (;;) {
    const auto notified = co_await engine::read(event.fd(), into);
    if (!notified) co_return notified.failure();
    event.serve();
  }
}

// A host that cannot take snapshots any more (a failing ioctl, a ring too small for one) ends the run: it would keep nothing.
engine::task<> GuestRun::keep_history(engine::task<> part) {
  auto ended = co_await std::move(part);
  if (!ended.is_error()) co_return engine::ok;
  Event event;
  event.kind = Event::Kind::kTicksFailed;
  event.vcpu.detail = ended.error().message;
  events_.post(std::move(event));
  co_return engine::ok;
}

engine::task<> GuestRun::conduct() {
  engine::scope alarms("alarms", engine::errors::collect);
  engine::scope freezes("freezes");
  engine::scope ticks("snapshots");
  engine::scope orders("orders", engine::errors::collect);
  engine::scope reading("reading snapshots");
  alarms_ = &alarms;
  ticks_ = &ticks;
  orders_ = &orders;
  freezes.spawn(keep_history(series_->coordinate()), "coordinator");
  reading.spawn(series_->read(), "reader");
  after(plan_.options.boot_timeout, Event::Kind::kBootTimeout);
  if (pc_->tlv_event() != nullptr) alarms.spawn(serve_notifications(), "notifications");
  while (phase_ != Phase::kEnded) {
    const auto event = co_await events_.receive();
    if (!event) {
      conclude({Exit::kBug, event.is_error() ? event.error().message : "the run was cancelled"});
      break;
    }
    handle(*event);
  }
  if (plan_.options.progress) folder_.print(RunFolder::Stream::kErr, "\r\033[K");
  alarms.request_stop();
  const auto alarms_ended = co_await alarms.join();
  (void)alarms_ended;
  ticks.request_stop();
  auto ticks_ended = co_await ticks.join();
  if (crashed_ || !series_->has_snapshots()) {
    const auto last = co_await series_->hurry(freeze::Cause::kEnd);
    if (last.is_error()) report_.notes.push_back("no last snapshot: " + last.error().message);
  }
  if (interrupted_ && series_->has_snapshots()) freezes.request_stop();
  const auto answered = co_await orders.join();
  series_->close();
  const auto coordinated = co_await freezes.join();
  orders_ = nullptr;
  (void)answered;
  (void)coordinated;
  if (!series_->ring_too_small().empty()) conclude({Exit::kUsage, series_->ring_too_small()});
  series_->close_reading();
  const auto read = co_await reading.join();
  alarms_ = nullptr;
  ticks_ = nullptr;
  if (ticks_ended.is_error()) co_return std::move(ticks_ended).failure();
  if (read.is_error()) co_return read.failure();
  co_return engine::ok;
}

void GuestRun::handle(const Event& event) {
  switch (event.kind) {
    case Event::Kind::kOutput:
      // Nothing is taken from the guest while much is still to be written: its writers wait, as they would for a slow terminal.
      if (folder_.queued_bytes() > kMostQueuedBytes) {
        after(20ms, Event::Kind::kOutput);
        break;
      }
      output_announced_.store(false, std::memory_order_release);
      take_output(kOutputRounds);
      break;
    case Event::Kind::kPower:
      take_output(kLastRounds);  // what was said before
      handle_power(event.power);
      break;
    case Event::Kind::kVcpu:
      take_output(kLastRounds);
      if (event.vcpu.kind == vmm::VcpuEvent::Kind::kTripleFault)
        went_down({Exit::kGuestPanic, fmt::format("the guest crashed: {} on vCPU {}", event.vcpu.detail, event.vcpu.vcpu)});
      else
        went_down({Exit::kHostCannot, fmt::format("vCPU {} cannot go on: {}", event.vcpu.vcpu, event.vcpu.detail)});
      crashed_ = true;
      break;
    case Event::Kind::kBootTimeout:
      if (phase_ == Phase::kBooting)
        went_down({Exit::kNoHello, fmt::format("no hello from the guest within {}: see {}", format_duration(plan_.options.boot_timeout),
                                               artefact::kConsole)});
      break;
    case Event::Kind::kDurationOver:
      if (phase_ == Phase::kRunning) request_stop(scenario_left_over(), stop_grace());
      break;
    case Event::Kind::kScenarioEnded:
      if (phase_ != Phase::kRunning) break;
      request_stop(captures_->scenario()->passed() ? Verdict{} : Verdict{Exit::kCheckFailed, captures_->scenario()->reason}, stop_grace());
      break;
    case Event::Kind::kStopTimeout:
      if (phase_ == Phase::kStopping) phase_ = Phase::kEnded;
      break;
    case Event::Kind::kPanicTimeout:
      went_down({Exit::kGuestPanic, report_.panic});
      break;
    case Event::Kind::kTicksFailed:
      if (series_->ring_too_small().empty())
        request_stop({Exit::kHostCannot, "snapshots failed: " + event.vcpu.detail}, stop_grace());
      else
        request_stop({Exit::kUsage, series_->ring_too_small()}, stop_grace());
      break;
    case Event::Kind::kSchedulerFailed:
      captures_->last_words();
      break;
    case Event::Kind::kLastWords:
      if (phase_ == Phase::kRunning) request_stop({Exit::kPass, ""}, stop_grace());
      break;
    case Event::Kind::kLateTaken:
      if (stop_after_late_ && phase_ == Phase::kRunning) request_stop({Exit::kPass, ""}, stop_grace());
      break;
    case Event::Kind::kProgress:
      show_progress();
      break;
    case Event::Kind::kInterrupt:
      interrupted_ = true;
      conclude(stopped_by(event.signal_number));
      if (phase_ == Phase::kBooting)
        phase_ = Phase::kEnded;
      else
        request_stop(stopped_by(event.signal_number), plan_.nested ? 5s : 2s);
      break;
  }
}

// One line that is written over, on a terminal only.
void GuestRun::show_progress() {
  if (phase_ != Phase::kRunning) return folder_.print(RunFolder::Stream::kErr, "\r\033[K");
  const double seconds = static_cast<double>(elapsed_ms() - *report_.hello_ms) / 1e3;
  folder_.print(RunFolder::Stream::kErr,
                fmt::format("\rfloe: {:.0f} s of {}, {}\033[K", seconds, format_duration(plan_.options.duration), series_->summary()));
  after(1s, Event::Kind::kProgress);
}

void GuestRun::interrupt(int signal_number) {
  Event event;
  event.kind = Event::Kind::kInterrupt;
  event.signal_number = signal_number;
  events_.post(std::move(event));
}

void GuestRun::take_output(int rounds) {
  std::vector<std::byte> serial;
  {
    const std::lock_guard lock(serial_mutex_);
    serial.swap(serial_);
  }
  take_console(serial);
  bool more = true;
  for (int round = 0; more && round < rounds; ++round) {
    const std::size_t console = pc_->console().take(vmm::VirtioConsole::kConsolePort, scratch_);
    if (console) take_console(scratch_);
    const std::size_t stream = pc_->console().take(vmm::VirtioConsole::kTlvPort, scratch_);
    if (stream) take_wire(scratch_);
    more = console || stream;
  }
  pc_->console().service();
  if (more) wake_output();
}

void GuestRun::take_console(std::span<const std::byte> bytes) {
  folder_.append(artefact::kConsole, bytes);
  report_.console_bytes += bytes.size();
  for (const std::byte b : bytes) {
    const char c = static_cast<char>(b);
    if (c == '\n') {
      look_for_panic(console_line_);
      captures_->look_for_scheduler(console_line_);
      console_line_.clear();
    } else if (c != '\r' && console_line_.size() < kMostLineBytes) {
      console_line_ += c;
    }
  }
}

// Distribution kernels have no pvpanic driver built in, so the console is where a panic shows. With panic=-1 a reset follows at once.
void GuestRun::look_for_panic(std::string_view line) {
  const auto at = line.find("Kernel panic - not syncing");
  if (at == std::string_view::npos || !report_.panic.empty()) return;
  report_.panic = line.substr(at);
  crashed_ = true;
  after(plan_.nested ? 5s : 2s, Event::Kind::kPanicTimeout);
}

engine::task<std::string> GuestRun::answer(std::string request) {
  if (!captures_) co_return refusal("the guest has not been started yet");
  auto asking = captures_->answer(std::move(request));
  auto answer = co_await std::move(asking);
  co_return std::move(answer);
}

bool GuestRun::send(std::uint32_t type, std::span<const std::byte> payload) {
  std::vector<std::byte> frame;
  return encoder_.encode(type, payload, frame) && pc_->console().send(vmm::VirtioConsole::kTlvPort, frame);
}

// What the kernel says of a scheduler's end tells more than how its process ended.
void GuestRun::conclude_scheduler() {
  const auto& failure = series_->scheduler().failure();
  const auto& lost = series_->late_degraded();
  if (!failure && !lost) return;
  Verdict verdict = failure ? Verdict{failure->stall ? Exit::kStall : Exit::kScheduler, failure->describe()} : verdict_of(lost->words);
  if (verdict.reason.empty()) verdict.reason = report_.verdict.code == Exit::kScheduler ? report_.verdict.reason : "the scheduler failed";
  if (lost) verdict.reason += "; the capture of it is degraded: " + lost->reason;
  if (report_.verdict.code == Exit::kScheduler && verdict.code == Exit::kScheduler)
    report_.verdict = std::move(verdict);
  else
    conclude(std::move(verdict));
}

void GuestRun::take_wire(std::span<const std::byte> bytes) {
  decoder_.feed(bytes);
  while (const auto frame = decoder_.next()) handle_frame(*frame);
}

void GuestRun::handle_frame(const wire::Frame& frame) {
  if (captures_->take(frame)) return;
  switch (frame.type) {
    case wire::kHello:
      handle_hello(frame.payload);
      break;
    case wire::kWorkloadOut:
    case wire::kWorkloadErr:
      folder_.append(artefact::kWorkload, frame.payload);
      if (!plan_.options.json)
        folder_.print(frame.type == wire::kWorkloadOut ? RunFolder::Stream::kOut : RunFolder::Stream::kErr, frame.payload);
      break;
    case wire::kSchedulerOut:
    case wire::kSchedulerErr:
      folder_.append(artefact::kScheduler, frame.payload);
      break;
    case wire::kLogLine:
      if (const auto line = wire::decode_log_line(frame.payload)) {
        folder_.append(artefact::kConsole, "floe-init: " + line->text + "\n");
        if (line->level <= 4) note("guest: " + line->text);
      }
      break;
    case wire::kWorkloadResult:
      handle_outcome(frame.payload);
      break;
    case wire::kSchedulerExit:
      handle_scheduler(frame.payload);
      break;
    case wire::kBye:
    case wire::kLifecycle:
      break;
    default:
      ++report_.wire_unknown_frames;
      break;
  }
}

void GuestRun::handle_hello(std::span<const std::byte> payload) {
  if (phase_ != Phase::kBooting) return;
  report_.hello = wire::decode_hello(payload);
  if (!report_.hello) {
    report_.notes.push_back("the guest's hello was malformed");
    return;
  }
  report_.hello_ms = elapsed_ms();
  phase_ = Phase::kRunning;
  report_.phase = "running";
  folder_.guest_said_hello();
  if (!plan_.options.quiet && !plan_.options.json)
    folder_.print(RunFolder::Stream::kErr, fmt::format("floe: guest {} said hello after {:.1f} s\n", printable(report_.hello->release),
                                                       static_cast<double>(*report_.hello_ms) / 1e3));
  ticks_->spawn(keep_history(series_->tick()), "ticks");
  captures_->begin(*ticks_, *orders_);
  after(plan_.options.duration, Event::Kind::kDurationOver);
  if (plan_.options.progress) after(1s, Event::Kind::kProgress);
}

void GuestRun::handle_outcome(std::span<const std::byte> payload) {
  if (report_.command_outcome) return;
  report_.command_outcome = wire::decode_outcome(payload);
  if (!report_.command_outcome) {
    conclude({Exit::kCheckFailed, "the guest's report of COMMAND's end was malformed"});
    return;
  }
  Verdict verdict;
  if (!succeeded(*report_.command_outcome))
    verdict = {Exit::kCheckFailed, fmt::format("{} {}", plan_.options.command.empty() ? "COMMAND" : plan_.options.command.front(),
                                               describe(*report_.command_outcome))};
  if (phase_ == Phase::kRunning) request_stop(verdict, stop_grace());
}

void GuestRun::handle_scheduler(std::span<const std::byte> payload) {
  report_.scheduler_outcome = wire::decode_outcome(payload);
  if (phase_ != Phase::kRunning || !report_.scheduler_outcome) return;
  if (succeeded(*report_.scheduler_outcome)) return;  // a clean unregister
  // A scenario ends schedulers, some of which have no better answer to SIGTERM. Whether it went well the scenario knows.
  if (!plan_.scenario.steps.empty() && report_.scheduler_outcome->kind == wire::Outcome::Kind::kSignalled) return;
  conclude({Exit::kScheduler, fmt::format("the scheduler {} {}", plan_.options.scheduler.empty() ? "" : plan_.options.scheduler.front(),
                                          describe(*report_.scheduler_outcome))});
  stop_after_late_ = true;
  captures_->late();
}

Verdict GuestRun::scenario_left_over() const {
  if (plan_.scenario.steps.empty() || captures_->scenario()) return {Exit::kPass, ""};
  return {Exit::kDeadline,
          fmt::format("the duration of {} was over before the scenario {}", format_duration(plan_.options.duration), plan_.scenario.file)};
}

void GuestRun::handle_power(vmm::PowerEvent event) {
  if (event == vmm::PowerEvent::kPvpanic) {
    crashed_ = true;
    after(plan_.nested ? 5s : 2s, Event::Kind::kPanicTimeout);
    if (report_.panic.empty()) report_.panic = "Kernel panic (reported by pvpanic)";
    return;
  }
  if (!report_.panic.empty()) return went_down({Exit::kGuestPanic, report_.panic});
  const char* how = event == vmm::PowerEvent::kReset ? "rebooted" : "powered off";
  if (phase_ == Phase::kBooting)
    return went_down({Exit::kNoHello, fmt::format("the guest {} before it said hello: see {}", how, artefact::kConsole)});
  if (phase_ == Phase::kStopping && event == vmm::PowerEvent::kPowerOff) return went_down({Exit::kPass, ""});
  went_down({Exit::kCheckFailed, fmt::format("the guest {} on its own", how)});
}

// The guest runs no more, or is not worth waiting for.
void GuestRun::went_down(Verdict verdict) {
  captures_->guest_gone();
  captures_->last_look();
  captures_->end();
  conclude(std::move(verdict));
  phase_ = Phase::kEnded;
}

// Asks the guest's init to end the workload and power off; if it does not within `grace`, it is stopped.
void GuestRun::request_stop(Verdict verdict, std::chrono::nanoseconds grace) {
  conclude(std::move(verdict));
  phase_ = Phase::kStopping;
  captures_->last_look();
  captures_->end();
  ticks_->request_stop();
  std::vector<std::byte> frame;
  if (encoder_.encode(wire::kStop, {}, frame) && pc_->console().send(vmm::VirtioConsole::kTlvPort, frame) &&
      !std::exchange(stop_timer_set_, true))
    after(grace, Event::Kind::kStopTimeout);
  else if (!stop_timer_set_)
    phase_ = Phase::kEnded;
}

// The guest can cause any number of these.
void GuestRun::note(std::string text) {
  constexpr std::size_t kMostNotes = 100;
  if (report_.notes.size() < kMostNotes) report_.notes.push_back(std::move(text));
}

// How long the guest's init gets for an orderly end.
std::chrono::nanoseconds GuestRun::stop_grace() const {
  return plan_.nested ? 20s : 5s;
}

void GuestRun::conclude(Verdict verdict) {
  report_.verdict = worse(std::move(report_.verdict), std::move(verdict));
}

std::uint64_t GuestRun::elapsed_ms() const {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started_).count());
}

void GuestRun::fill_report() {
  series_->report(report_);
  captures_->report(report_);
  report_.phase = "ended";
  report_.ended_ms = elapsed_ms();
  report_.wire = decoder_.stats();
  report_.wire_notify = pc_->tlv_event() != nullptr && pc_->tlv_event()->refused() == 0 ? "event" : "exit";
  report_.console_bytes_lost = serial_lost_;
  for (unsigned i = 0; i < vm_->cpus(); ++i) {
    const vmm::Vcpu::Counters& c = vm_->vcpu(i).counters();
    report_.vcpu_counters["runs"] += c.runs;
    report_.vcpu_counters["port_io"] += c.port_io;
    report_.vcpu_counters["mmio"] += c.mmio;
    report_.vcpu_counters["unclaimed"] += c.unclaimed;
    report_.vcpu_counters["parks"] += c.parks;
  }
  report_.vcpu_counters["rekicks"] = vm_->rekicks();
}

}  // namespace floe::cli
