// Who owns the freeze: one coroutine through which everything goes that wants the guest to stand still.
//
// Whoever wants a snapshot (the tick, an operator, the guest, a scenario, a trigger) gives an order and awaits its answer. At most one
// freeze is under way; orders wait in a bounded queue, the most urgent first, those of a kind in their turn. A freeze answers every order
// that was given before it began: they asked for the state of the guest at once, and that is what they get, one snapshot for all of them.
// Every order is answered exactly once, by its deadline, whatever happens.
//
// All of it runs on the engine's thread. What is made of a snapshot (walking, rendering, writing) is done elsewhere, after the thaw.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/engine.hpp"
#include "freeze/snapshotter.hpp"
#include "freeze/word_watch.hpp"

namespace floe::freeze {

// Why a capture is wanted, the most urgent first.
enum class Cause { kLate, kEarly, kWatch, kGuest, kOperator, kScenario, kPeriodic, kTick, kEnd };
std::string_view to_text(Cause cause);

// What the words of a scheduler's end say, read without a snapshot: all that is known of it when a capture is degraded.
struct EndWords {
  bool hit = false;                        // the word has been in the error class
  std::optional<std::uint32_t> exit_kind;  // absent: no scheduler that is known of
  LatchState latch = LatchState::not_resolved;
  // It failed, for all one can tell without a snapshot.
  bool failed() const { return hit || latch == LatchState::triggered || (exit_kind && *exit_kind >= kErrorExitKind); }
};

// One freeze of the guest, and the snapshot it gave.
struct Captured {
  Take take;
  std::shared_ptr<const SnapshotView> view;  // where it was taken; stays readable whatever the ring evicts
  std::string reason;                        // where it was not
  EndWords words;                            // of a degraded one
  bool degraded() const { return take.result == TakeResult::kRendezvousTimeout; }
};

struct Answer {
  std::shared_ptr<const Captured> capture;  // there was a freeze for this order
  std::string refused;                      // there was none, and why
  bool taken() const { return capture && capture->view; }
  const std::string& reason() const { return capture ? capture->reason : refused; }
};

class Coordinator {
 public:
  using Clock = vmm::Clock;
  static constexpr std::size_t kMostWaiting = 256;
  static constexpr auto kAnswerLimit = std::chrono::seconds(30);

  // On the loop's thread. All outlive the coordinator; `pool` is where pages are stored.
  Coordinator(vmm::Vm& vm, Snapshotter& snapshotter, SnapshotRing& ring, engine::worker_pool& pool, std::chrono::nanoseconds rendezvous);

  // Serves orders until close(), or until it is stopped; then refuses those that wait and all that come. Error: one of the host, which
  // every order gets as its reason.
  engine::task<> run();
  void close();

  // The answer comes within `limit`. One that is late in answering is not taken back: the snapshot may still come into the ring.
  engine::task<Answer> capture(Cause cause, std::uint64_t tick = 0, std::chrono::nanoseconds limit = kAnswerLimit);

  // Runs `act` with the guest frozen, in its turn: a few loads and stores, under the rules of Frozen. Error: not all vCPUs parked,
  // refused, or what it throws.
  engine::task<> inside(std::function<void()> act, std::chrono::nanoseconds limit = kAnswerLimit);

  // Asked when a capture is degraded. Set before run().
  void set_end_words(std::function<EndWords()> look) { look_at_words_ = std::move(look); }

  // Told of every freeze, taken or not, before its orders are answered. Set before run().
  void on_capture(std::function<void(const std::shared_ptr<const Captured>&)> tell) { tell_ = std::move(tell); }

  struct Counters {
    std::uint64_t orders = 0, refused = 0, shared = 0, frozen_acts = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Pending {
    Cause cause = Cause::kTick;
    std::uint64_t tick = 0;
    std::function<void()> act;  // instead of a capture
    Clock::time_point given;
    engine::mailbox<Answer> answer;
  };
  engine::task<Answer> ask(std::shared_ptr<Pending> order, std::chrono::nanoseconds limit);
  std::shared_ptr<Pending> most_urgent();
  std::uint64_t tick_waiting() const;
  engine::task<> serve(std::shared_ptr<Pending> order);
  engine::task<> compress();
  void perform(Pending& order);
  void answer_all(const std::shared_ptr<const Captured>& capture, Clock::time_point began);
  void refuse_all(const std::string& why);

  vmm::Vm& vm_;
  Snapshotter& snapshotter_;
  SnapshotRing& ring_;
  engine::worker_pool& pool_;
  std::chrono::nanoseconds rendezvous_;
  std::function<EndWords()> look_at_words_;
  std::function<void(const std::shared_ptr<const Captured>&)> tell_;
  std::deque<std::shared_ptr<Pending>> waiting_;
  engine::mailbox<int> wake_;
  std::string ended_;  // why nothing is served any more
  Counters counters_;
};

// "vCPU rendezvous timed out before parked acknowledgement: 2001ms; 1/2 vCPUs parked; missing: vCPU 1"
std::string describe_rendezvous(const Take& take);

}  // namespace floe::freeze
