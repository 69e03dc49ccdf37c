#include "freeze/coordinator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "freeze/dump/reasons.hpp"

namespace floe::freeze {
namespace {

// Pages that none of this many newest snapshots brought are compressed: behind each capture this many, and fewer where the next one waits.
constexpr std::size_t kHotSnapshots = 10;
constexpr std::size_t kCompressedPerCapture = 128;
constexpr std::size_t kCompressedAtOnce = 16;

constexpr const char* kEnding = "the run is ending";

bool urgent(Cause cause) {
  return cause == Cause::kLate;
}

}  // namespace

std::string_view to_text(Cause cause) {
  constexpr std::string_view kTexts[] = {"late", "early", "watch", "guest", "operator", "scenario", "periodic", "tick", "end"};
  return kTexts[static_cast<std::size_t>(cause)];
}

std::string describe_rendezvous(const Take& take) {
  const auto parked = std::count_if(take.at_gate.begin(), take.at_gate.end(), [](const AtGate& vcpu) { return vcpu.parked; });
  std::string missing;
  for (std::size_t i = 0; i < take.at_gate.size(); ++i)
    if (!take.at_gate[i].parked) missing += fmt::format("{}vCPU {}", missing.empty() ? "; missing: " : ", ", i);
  return fmt::format("{}: {}ms; {}/{} vCPUs parked{}",
                     take.gave_up ? dump::reason::kKillDuringRendezvous : dump::reason::kRendezvousTimeout, take.meta.pause_us / 1000,
                     parked, take.at_gate.size(), missing);
}

Coordinator::Coordinator(vmm::Vm& vm, Snapshotter& snapshotter, SnapshotRing& ring, engine::worker_pool& pool,
                         std::chrono::nanoseconds rendezvous)
    : vm_(vm), snapshotter_(snapshotter), ring_(ring), pool_(pool), rendezvous_(rendezvous) {}

engine::task<> Coordinator::run() {
  while (ended_.empty()) {
    if (waiting_.empty()) {
      const auto woken = co_await wake_.receive();
      if (!woken) ended_ = kEnding;
      continue;
    }
    const auto served = co_await serve(most_urgent());
    if (served.is_cancelled()) ended_ = kEnding;
    if (!served.is_error()) continue;
    ended_ = served.error().message;
    refuse_all(ended_);
    co_return served.error();
  }
  refuse_all(ended_);
  co_return engine::ok;
}

void Coordinator::close() {
  if (ended_.empty()) ended_ = kEnding;
  wake_.post(0);
}

engine::task<Answer> Coordinator::capture(Cause cause, std::uint64_t tick, std::chrono::nanoseconds limit) {
  auto order = std::make_shared<Pending>();
  order->cause = cause;
  order->tick = tick;
  // The freeze may be about to begin: what is still being copied before it can be copied in it.
  if (urgent(cause)) snapshotter_.hurry();
  auto asked = co_await ask(std::move(order), limit);
  co_return std::move(asked);
}

engine::task<> Coordinator::inside(std::function<void()> act, std::chrono::nanoseconds limit) {
  auto order = std::make_shared<Pending>();
  order->cause = Cause::kGuest;
  order->act = std::move(act);
  auto asked = co_await ask(std::move(order), limit);
  if (!asked) co_return asked.failure();
  if (!asked->refused.empty()) co_return Error(asked->refused);
  co_return engine::ok;
}

engine::task<Answer> Coordinator::ask(std::shared_ptr<Pending> order, std::chrono::nanoseconds limit) {
  Answer answer;
  ++counters_.orders;
  if (!ended_.empty()) answer.refused = ended_;
  if (waiting_.size() >= kMostWaiting) answer.refused = fmt::format("{} captures are waiting already: try again", kMostWaiting);
  if (!answer.refused.empty()) {
    ++counters_.refused;
    co_return std::move(answer);
  }
  order->given = Clock::now();
  waiting_.push_back(order);
  wake_.post(0);
  const auto receive = [](std::shared_ptr<Pending> asked) -> engine::task<Answer> {
    auto got = co_await asked->answer.receive();
    co_return std::move(got);
  };
  auto receiving = receive(order);
  auto got = co_await engine::with_timeout(std::move(receiving), limit);
  if (got) co_return std::move(*got);
  std::erase(waiting_, order);
  if (got.is_cancelled()) co_return got.failure();
  ++counters_.refused;
  answer.refused = fmt::format("no capture within {} ms: another one has been under way",
                               std::chrono::duration_cast<std::chrono::milliseconds>(limit).count());
  co_return std::move(answer);
}

std::shared_ptr<Coordinator::Pending> Coordinator::most_urgent() {
  const auto first = std::min_element(waiting_.begin(), waiting_.end(), [](const auto& a, const auto& b) { return a->cause < b->cause; });
  auto order = *first;
  waiting_.erase(first);
  return order;
}

// Of a tick that waits for the freeze to come, whoever it is made for.
std::uint64_t Coordinator::tick_waiting() const {
  std::uint64_t tick = 0;
  for (const auto& order : waiting_) tick = std::max(tick, order->tick);
  return tick;
}

engine::task<> Coordinator::serve(std::shared_ptr<Pending> order) {
  if (order->act) {
    perform(*order);
    co_return engine::ok;
  }
  waiting_.push_front(order);  // answered with all the others, and refused with them where there is no answer
  const auto began = Clock::now();
  const std::uint64_t tick = tick_waiting();
  auto taken = co_await snapshotter_.take(tick, pool_);
  // In a hurry more was left to the pause than it could copy.
  const bool again = taken && urgent(order->cause) && taken->result == TakeResult::kDidNotFit && !taken->ring_full;
  if (again) taken = co_await snapshotter_.take(tick, pool_);
  if (!taken) co_return taken.failure();
  auto capture = std::make_shared<Captured>();
  capture->take = std::move(*taken);
  capture->reason = capture->degraded() ? describe_rendezvous(capture->take) : capture->take.reason;
  if (capture->degraded() && look_at_words_) capture->words = look_at_words_();
  if (capture->take.result == TakeResult::kTaken) capture->view = std::make_shared<const SnapshotView>(ring_.newest());
  if (tell_) tell_(capture);
  const Clock::time_point froze(std::chrono::nanoseconds(capture->take.meta.monotonic_ns));
  answer_all(capture, std::max(began, froze));
  const auto compressed = co_await compress();
  if (!compressed) co_return compressed.failure();
  co_return engine::ok;
}

// Some of it always: a guest that is frozen again and again would have a history without any compression.
engine::task<> Coordinator::compress() {
  const auto some = [this] { return ring_.compress_cold(kHotSnapshots, kCompressedAtOnce); };
  for (std::size_t pages = 0; pages < kCompressedPerCapture; pages += kCompressedAtOnce) {
    const auto compressed = co_await pool_.run(some);
    if (!compressed) co_return compressed.failure();
    if (*compressed < kCompressedAtOnce || !waiting_.empty()) break;
  }
  co_return engine::ok;
}

void Coordinator::perform(Pending& order) {
  Answer answer;
  Take take;
  take.at_gate.resize(vm_.cpus());
  bool complete = false;
  ring_.hold_readers();
  try {
    Frozen frozen(vm_, rendezvous_);
    complete = frozen.complete();
    if (complete)
      order.act();
    else
      look_at_gate(vm_, take.at_gate);
    frozen.thaw();
    take.meta.pause_us =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(frozen.thawed_at() - frozen.kicked_at()).count());
  } catch (const std::exception& thrown) {
    answer.refused = thrown.what();
  }
  ring_.let_readers();
  take.gave_up = vm_.gave_up();
  if (!complete) answer.refused = describe_rendezvous(take);
  ++counters_.frozen_acts;
  order.answer.post(std::move(answer));
}

// Whoever asked before the guest was stopped has the state of then.
void Coordinator::answer_all(const std::shared_ptr<const Captured>& capture, Clock::time_point began) {
  std::uint64_t answered = 0;
  std::erase_if(waiting_, [&](const std::shared_ptr<Pending>& order) {
    if (order->act || order->given > began) return false;
    Answer answer;
    answer.capture = capture;
    order->answer.post(std::move(answer));
    ++answered;
    return true;
  });
  if (answered > 1) counters_.shared += answered - 1;
}

void Coordinator::refuse_all(const std::string& why) {
  for (const auto& order : waiting_) {
    Answer answer;
    answer.refused = why;
    order->answer.post(std::move(answer));
    ++counters_.refused;
  }
  waiting_.clear();
}

}  // namespace floe::freeze
