#include "cli/run_captures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/control.hpp"
#include "cli/json.hpp"
#include "freeze/scenario/run.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;
namespace wire = vmm::wire;

constexpr const char* kEnding = "the run is ending";

static_assert(wire::kAnswerGiven < wire::kAnswerAwaited);

// What comes of a request, if it comes in time.
template <class T>
engine::task<T> await_answer(std::shared_ptr<engine::mailbox<T>> done, std::chrono::nanoseconds limit) {
  const auto receive = [](std::shared_ptr<engine::mailbox<T>> from) -> engine::task<T> {
    auto got = co_await from->receive();
    co_return std::move(got);
  };
  auto receiving = receive(std::move(done));
  auto got = co_await engine::with_timeout(std::move(receiving), limit);
  co_return std::move(got);
}

std::string too_late(std::chrono::nanoseconds limit) {
  return fmt::format("not done within {} ms: it goes on, and what comes of it will be in the run's folder",
                     std::chrono::duration_cast<std::chrono::milliseconds>(limit).count());
}

// By itself or by its story, sooner or later: captures of a time without one would show nothing of it.
bool wants_scheduler(const RunCaptures::Setting& setting) {
  namespace story = freeze::scenario;
  const auto brings_one = [](const story::Step& step) {
    return std::holds_alternative<story::StartScheduler>(step.action) || std::holds_alternative<story::AttachScheduler>(step.action) ||
           std::holds_alternative<story::ReplaceScheduler>(step.action);
  };
  return setting.has_scheduler || std::any_of(setting.scenario->steps.begin(), setting.scenario->steps.end(), brings_one);
}

}  // namespace

RunCaptures::RunCaptures(vmm::Vm& vm, SnapshotSeries& series, Setting setting, Owner owner)
    : series_(series),
      setting_(setting),
      owner_(std::move(owner)),
      calls_(for_bridge()),
      on_demand_(series, calls_.callbacks()),
      live_(vm, series, {setting.nested, setting.write_watches, setting.latch},
            {.failure =
                 [this] {
                   late_hinted_ = true;
                   late();
                 },
             .latched =
                 [this](const std::string& text) {
                   owner_.latched(text);
                   if (orders_) orders_->spawn(take_latched(), "latched snapshot");
                 },
             .long_wait =
                 [this] {
                   if (orders_) orders_->spawn(take_early(), "early snapshot");
                 },
             .fired =
                 [this](const std::string& symbol) {
                   if (const auto asked = bridge_watches_.find(symbol); asked != bridge_watches_.end()) {
                     bridge_watches_.erase(asked);
                     on_demand_.bridge().release_watch();
                   }
                   if (orders_) orders_->spawn(take_watched(symbol), "watched snapshot");
                 }}),
      periodic_({setting.periodic, setting.duration, wants_scheduler(setting)}, {.readable = [this] { return live_.knows_kernel(); },
                                                                                 .scheduler = [this] { return live_.scheduler(); },
                                                                                 .stood_still = [this] { return series_.frozen_time(); },
                                                                                 .capture =
                                                                                     [this](std::size_t index, PeriodicMoment when) {
                                                                                       if (orders_)
                                                                                         orders_->spawn(take_periodic(index, when),
                                                                                                        "periodic snapshot");
                                                                                     }}),
      guest_(owner_.send),
      scenario_host_(guest_, setting.has_scheduler, {on_demand_, live_, owner_.tell}) {
  series_.coordinator().set_end_words([this] { return live_.end_words(); });
}

void RunCaptures::begin(engine::scope& watching, engine::scope& orders) {
  begun_ = true;
  orders_ = &orders;
  watching.spawn(live_.run(), "live watch");
  if (setting_.periodic != 0) watching.spawn(periodic_.run(), "periodic captures");
  watching.spawn(calls_.serve(), "bridge");
  if (!setting_.scenario->steps.empty()) watching.spawn(play(), "scenario");
}

void RunCaptures::last_look() {
  if (orders_) live_.last_look();
}

// What another thread of this program may ask for, by the bridge of the run's captures.
freeze::BridgeCalls::Doing RunCaptures::for_bridge() {
  freeze::BridgeCalls::Doing doing;
  doing.capture = [this](std::string name) { return on_demand_.capture_for(freeze::Cause::kScenario, std::move(name)); };
  doing.watch = [this](std::string symbol) { return watch_for_bridge(std::move(symbol)); };
  doing.kernel_op = [this](freeze::KernelOpRequest request) { return live_.kernel_op(std::move(request)); };
  return doing;
}

engine::task<> RunCaptures::watch_for_bridge(std::string symbol) {
  const auto watched = co_await live_.watch(symbol);
  if (!watched) co_return watched.failure();
  bridge_watches_.insert(symbol);
  co_return engine::ok;
}

// The kernel prints this while it throws a scheduler out, and forgets why soon after.
void RunCaptures::look_for_scheduler(std::string_view line) {
  if (line.find("sched_ext: BPF scheduler \"") == line.npos || std::exchange(late_hinted_, true)) return;
  late();
}

void RunCaptures::late() {
  if (orders_) orders_->spawn(take_late(), "late snapshot");
}

engine::task<> RunCaptures::take_late() {
  const auto taken = co_await series_.hurry(freeze::Cause::kLate);
  if (taken.is_error()) owner_.note("a late snapshot failed: " + taken.error().message);
  owner_.late_taken();
  if (series_.late_degraded()) owner_.words_read();  // there is nothing more to come
  co_return engine::ok;
}

// The end as a program of the guest tells it. The kernel may have none to tell of.
engine::task<> RunCaptures::take_latched() {
  const auto taken = co_await series_.hurry(freeze::Cause::kLate, true);
  if (taken.is_error()) owner_.note("a snapshot at the latch failed: " + taken.error().message);
  auto words = read_last_words();
  auto read = co_await std::move(words);
  co_return std::move(read);
}

// Somebody has waited for half of what the watchdog allows: the snapshot to compare the end with.
engine::task<> RunCaptures::take_early() {
  const auto taken = co_await series_.hurry(freeze::Cause::kEarly);
  if (taken.is_error()) owner_.note("an early snapshot failed: " + taken.error().message);
  co_return engine::ok;
}

engine::task<> RunCaptures::take_watched(std::string symbol) {
  const auto made = co_await on_demand_.capture(freeze::Cause::kWatch, symbol);
  if (made && !made->ok) owner_.note(fmt::format("the snapshot for {}: {}", printable(symbol), made->reason));
  co_return engine::ok;
}

engine::task<> RunCaptures::take_periodic(std::size_t index, PeriodicMoment when) {
  using Outcome = freeze::PeriodicCaptures::Outcome;
  const auto made = co_await on_demand_.capture(freeze::Cause::kPeriodic, freeze::periodic_tag(index), when);
  if (made && !made->ok) owner_.note(fmt::format("the periodic snapshot {}: {}", index, made->reason));
  periodic_.done(made && made->ok ? Outcome::captured : made && made->degraded ? Outcome::degraded : Outcome::suppressed);
  co_return engine::ok;
}

void RunCaptures::last_words() {
  if (orders_) orders_->spawn(read_last_words(), "last words");
}

// The first snapshot of an end may come before the kernel has said why. What it says stays for some 100 ms, and in its log.
engine::task<> RunCaptures::read_last_words() {
  for (const auto pause : {20ms, 200ms, 800ms}) {
    if (series_.failure_explained()) break;
    const auto slept = co_await engine::sleep_for(pause);
    if (!slept) break;
    const auto taken = co_await series_.hurry(freeze::Cause::kLate);
    if (!taken) break;
  }
  owner_.words_read();
  co_return engine::ok;
}

// The guest asks: it gets an answer, unless it asked what nobody can read. While it is asked to stop, what runs in it may still ask.
bool RunCaptures::take(const wire::Frame& frame) {
  if (frame.type == wire::kSnapshotRequest) {
    auto request = wire::decode_snapshot_request(frame.payload);
    if (!request)
      ++malformed_;
    else if (orders_)
      serve_in_time<Refusal>(std::move(*request), "the guest's snapshot");
    else
      reply(*request, kEnding);
    return true;
  }
  if (frame.type == wire::kKernelOpRequest) {
    auto request = wire::decode_kernel_op_request(frame.payload);
    if (!request)
      ++malformed_;
    else if (orders_)
      serve_in_time<Reply>(std::move(*request), "the guest's kernel operation");
    else
      owner_.send(wire::kKernelOpReply, encode(freeze::refuse(*request, kEnding)));
    return true;
  }
  return guest_.take(frame.type, frame.payload);
}

void RunCaptures::reply(const wire::SnapshotRequest& request, std::string refused) {
  wire::SnapshotReply reply;
  reply.id = request.id;
  reply.status = refused.empty() ? wire::SnapshotReply::kOk : wire::SnapshotReply::kError;
  reply.reason = std::move(refused);
  owner_.send(wire::kSnapshotReply, encode(reply));
}

// The guest takes a longer silence for a dead port.
template <class Done, class Request>
void RunCaptures::serve_in_time(Request request, engine::task_name name) {
  const auto done = std::make_shared<Done>();
  orders_->spawn(serve(request, done), name);
  orders_->spawn(answer(std::move(request), done), name);
}

engine::task<> RunCaptures::serve(wire::SnapshotRequest request, std::shared_ptr<Refusal> done) {
  std::string refused;
  if (request.kind == wire::SnapshotRequest::kCapture) {
    const auto made = co_await on_demand_.capture(freeze::Cause::kGuest, request.tag);
    if (!made || !made->ok) refused = made ? made->reason : kEnding;
  } else if (request.kind == wire::SnapshotRequest::kWatch) {
    const auto watched = co_await live_.watch(request.tag);
    if (!watched) refused = watched.is_error() ? watched.error().message : kEnding;
  } else {
    refused = fmt::format("a request of kind {} is not known", request.kind);
  }
  done->post(std::move(refused));
  co_return engine::ok;
}

engine::task<> RunCaptures::answer(wire::SnapshotRequest request, std::shared_ptr<Refusal> done) {
  auto refused = co_await await_answer<std::string>(std::move(done), setting_.answer_limit);
  reply(request, refused ? std::move(*refused) : refused.is_error() ? too_late(setting_.answer_limit) : kEnding);
  co_return engine::ok;
}

engine::task<> RunCaptures::serve(wire::KernelOpRequest request, std::shared_ptr<Reply> done) {
  auto made = co_await live_.kernel_op(request);
  auto reply = made ? std::move(*made) : freeze::refuse(request, kEnding);
  on_demand_.bridge().record_kernel_op(request.tag, reply);
  done->post(std::move(reply));
  co_return engine::ok;
}

engine::task<> RunCaptures::answer(wire::KernelOpRequest request, std::shared_ptr<Reply> done) {
  const auto reply = co_await await_answer<freeze::KernelReply>(std::move(done), setting_.answer_limit);
  const std::string refused = reply.is_error() ? too_late(setting_.answer_limit) : kEnding;
  owner_.send(wire::kKernelOpReply, encode(reply ? *reply : freeze::refuse(request, refused)));
  co_return engine::ok;
}

engine::task<std::string> RunCaptures::answer(std::string request) {
  if (!orders_) co_return refusal(begun_ ? kEnding : "the guest has not said hello yet");
  const auto asker = std::make_shared<engine::mailbox<std::string>>();
  orders_->spawn(serve(std::move(request), asker), "the operator's request");
  auto answer = co_await asker->receive();
  co_return std::move(answer);
}

// One of the orders, so that the run does not end, and its manifest does not count them, before it is answered.
engine::task<> RunCaptures::serve(std::string request, std::shared_ptr<engine::mailbox<std::string>> asker) {
  auto asking = on_demand_.answer(std::move(request));
  auto answer = co_await std::move(asking);
  asker->post(answer ? std::move(*answer) : refusal(kEnding));
  co_return engine::ok;
}

engine::task<> RunCaptures::play() {
  auto outcome = co_await freeze::scenario::run_scenario(*setting_.scenario, scenario_host_);
  if (!outcome) co_return outcome.failure();  // the run ends for another reason
  scenario_ = std::move(*outcome);
  owner_.scenario_ended();
  co_return engine::ok;
}

void RunCaptures::report(RunReport& report) {
  report.captures = on_demand_.first();
  report.captures_answered = on_demand_.answered();
  report.bridge_events = on_demand_.bridge().drain_events();
  live_.report(report);
  periodic_.report(report);
  report.scenario = scenario_;
  report.scenario_file = setting_.scenario->file;
  report.wire_unknown_frames += malformed_;
}

}  // namespace floe::cli
