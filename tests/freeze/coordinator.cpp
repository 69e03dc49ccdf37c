#include "freeze/coordinator.hpp"

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <stdexcept>
#include <thread>

#include "tests/tiny/recorder.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

namespace {

// A busy guest, what takes snapshots of it, and the owner of its freezes.
struct Machine {
  std::unique_ptr<tiny::Guest> guest;
  std::unique_ptr<tiny::Recorder> recorder;
  std::uint64_t freezes = 0, degraded = 0;

  explicit Machine(SnapshotterOptions how = {}, unsigned cpus = 2) : limit(how.rendezvous_limit) {
    if (tiny::unavailable()) {
      BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
      return;
    }
    auto made = tiny::Guest::create({.cpus = cpus});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    guest = std::move(*made);
    auto recording = tiny::Recorder::create(*guest, {.how = how});
    BOOST_REQUIRE_MESSAGE(recording.has_value(), (recording ? "" : recording.error().message));
    recorder = std::move(*recording);
    guest->set_mode(TINY_COUNT);
    guest->start();
    BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
  }
  explicit operator bool() const { return recorder != nullptr; }

  // Runs `script` beside a coordinator, and ends that with it.
  void run(engine::task<> (*script)(Machine&, Coordinator&)) {
    auto story = tell(*this, script);
    const auto ended = recorder->loop().run(std::move(story), "test");
    BOOST_REQUIRE_MESSAGE(ended.has_value(), (ended.is_error() ? ended.error().message : "cancelled"));
  }

  std::chrono::nanoseconds limit;

 private:
  static engine::task<> tell(Machine& machine, engine::task<> (*script)(Machine&, Coordinator&)) {
    tiny::Recorder& recorder = *machine.recorder;
    Coordinator coordinator(machine.guest->vm(), recorder.snapshotter(), recorder.ring(), recorder.pool(), machine.limit);
    coordinator.on_capture([&machine](const std::shared_ptr<const Captured>& capture) {
      ++machine.freezes;
      if (capture->degraded()) ++machine.degraded;
    });
    auto told = tiny::beside(coordinator, script(machine, coordinator));
    const auto ended = co_await std::move(told);
    if (!ended) co_return ended.failure();
    co_return engine::ok;
  }
};

struct Tally {
  unsigned answered = 0, taken = 0, refused = 0;
  std::vector<std::string> reasons;
};

engine::task<> order(Coordinator& coordinator, Cause cause, Tally& tally, std::chrono::nanoseconds limit = 30s) {
  auto answer = co_await coordinator.capture(cause, 0, limit);
  if (!answer) co_return answer.failure();
  ++tally.answered;
  if (answer->taken()) ++tally.taken;
  if (!answer->refused.empty()) ++tally.refused;
  tally.reasons.push_back(answer->reason());
  co_return engine::ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(coordinator)

BOOST_AUTO_TEST_CASE(everybody_who_asked_before_a_freeze_has_its_snapshot_and_nobody_is_answered_twice) {
  Machine machine;
  if (!machine) return;
  machine.run([](Machine& m, Coordinator& c) -> engine::task<> {
    Tally tally;
    engine::scope orders("orders");
    constexpr unsigned kOrders = 100;
    for (unsigned i = 0; i < kOrders; ++i) orders.spawn(order(c, i % 3 == 0 ? Cause::kGuest : Cause::kTick, tally), "order");
    const auto joined = co_await orders.join();
    if (!joined) co_return joined.failure();
    BOOST_TEST(tally.answered == kOrders);
    BOOST_TEST(tally.taken == kOrders);
    BOOST_TEST(m.freezes == 1u);
    BOOST_TEST(c.counters().shared == kOrders - 1);
    const auto later = co_await order(c, Cause::kOperator, tally);  // asked after it: has another
    BOOST_TEST(later.has_value());
    BOOST_TEST(m.freezes == 2u);
    BOOST_TEST(m.recorder->ring().size() == 2u);
    co_return engine::ok;
  });
}

BOOST_AUTO_TEST_CASE(a_vcpu_that_does_not_park_degrades_the_capture_and_names_itself_and_the_next_one_is_whole) {
  SnapshotterOptions how;
  how.rendezvous_limit = 300ms;
  Machine machine(how);
  if (!machine) return;
  machine.run([](Machine& m, Coordinator& c) -> engine::task<> {
    Tally tally;
    const auto first = co_await order(c, Cause::kTick, tally);
    BOOST_TEST(first.has_value());
    c.set_end_words([] { return EndWords{true, 1026, LatchState::not_resolved}; });
    m.guest->close_latch();
    m.guest->set_mode(1, TINY_LATCH);
    BOOST_REQUIRE(m.guest->wait([&] { return m.guest->latched(); }));
    auto stuck = co_await c.capture(Cause::kOperator);
    BOOST_REQUIRE(stuck.has_value());
    BOOST_REQUIRE(stuck->capture);
    BOOST_TEST(!stuck->taken());
    BOOST_TEST(stuck->capture->degraded());
    BOOST_TEST(stuck->reason().find("vCPU rendezvous timed out") == 0u, stuck->reason());
    BOOST_TEST(stuck->reason().find("1/2 vCPUs parked; missing: vCPU 1") != std::string::npos, stuck->reason());
    const auto& at_gate = stuck->capture->take.at_gate;
    BOOST_REQUIRE(at_gate.size() == 2u);
    BOOST_TEST(at_gate[0].parked);
    BOOST_TEST(m.guest->in_payload(at_gate[0].rip));
    BOOST_TEST(!at_gate[1].parked);
    BOOST_TEST(stuck->capture->words.exit_kind.value() == 1026u);
    BOOST_TEST(stuck->capture->words.failed());
    // What would be done inside is not done, for the same reason.
    bool acted = false;
    const auto act = [&acted] { acted = true; };
    const auto inside = co_await c.inside(act);
    BOOST_TEST(!acted);
    BOOST_REQUIRE(inside.is_error());
    BOOST_TEST(inside.error().message.ends_with("1/2 vCPUs parked; missing: vCPU 1"), inside.error().message);
    // Somebody ends the run while it is waited for: the other reason, before the limit.
    m.guest->vm().set_give_up([] { return true; });
    auto killed = co_await c.capture(Cause::kOperator);
    m.guest->vm().set_give_up({});
    BOOST_REQUIRE(killed.has_value());
    BOOST_TEST(killed->reason().find("vCPU rendezvous aborted by external kill") == 0u, killed->reason());
    m.guest->open_latch();
    const auto after = co_await order(c, Cause::kOperator, tally);
    BOOST_TEST(after.has_value());
    BOOST_TEST(tally.taken == 2u, tally.reasons.back());
    BOOST_TEST(m.degraded == 2u);
    // An end that is asked for while all have parked degrades nothing.
    m.guest->vm().set_rekick(60s);
    m.guest->vm().set_give_up([] { return true; });
    const auto together = co_await order(c, Cause::kOperator, tally);
    BOOST_TEST(together.has_value());
    BOOST_TEST(tally.taken == 3u, tally.reasons.back());
    co_return engine::ok;
  });
}

BOOST_AUTO_TEST_CASE(what_is_done_inside_sees_a_guest_that_stands_still) {
  Machine machine;
  if (!machine) return;
  machine.run([](Machine& m, Coordinator& c) -> engine::task<> {
    for (int round = 0; round < 20; ++round) {
      bool stood = true, frozen = false;
      const auto look = [&stood, &frozen, &m] {
        const std::uint64_t before = m.guest->counter(0) + m.guest->counter(1);
        const auto until = vmm::Clock::now() + 500us;
        while (vmm::Clock::now() < until) stood = stood && m.guest->counter(0) + m.guest->counter(1) == before;
        frozen = NoAllocScope::active();
      };
      const auto done = co_await c.inside(look);
      BOOST_REQUIRE(done.has_value());
      BOOST_TEST(frozen);
      BOOST_TEST(stood);
    }
    BOOST_TEST(c.counters().frozen_acts == 20u);
    BOOST_TEST(m.guest->wait_for_progress(TINY_COUNT));
    co_return engine::ok;
  });
}

// As in a capture: on a host with few processors a reader of an earlier snapshot would hold the one that a vCPU needs to stop.
BOOST_AUTO_TEST_CASE(readers_stand_aside_while_something_is_done_inside) {
  Machine machine;
  if (!machine) return;
  machine.run([](Machine& m, Coordinator& c) -> engine::task<> {
    Tally tally;
    const auto first = co_await order(c, Cause::kTick, tally);
    BOOST_TEST(first.has_value());
    const SnapshotView view = m.recorder->ring().newest();
    std::atomic<std::uint64_t> reads{0};
    std::atomic<bool> over{false};
    std::thread reader([&] {
      for (std::array<std::byte, 8> bytes{}; !over; ++reads)
        if (!view.read(0, 0, bytes)) break;
    });
    BOOST_TEST(m.guest->wait([&] { return reads != 0; }));
    std::uint64_t before = 0, after = 0;
    const auto spin = [](std::chrono::milliseconds time) {
      for (const auto until = vmm::Clock::now() + time; vmm::Clock::now() < until;) {
      }
    };
    const auto look = [&] {
      before = reads;
      spin(20ms);
      after = reads;
    };
    const auto done = co_await c.inside(look);
    BOOST_TEST(done.has_value());
    BOOST_TEST(after <= before + 1);  // the one under way
    BOOST_TEST(m.guest->wait([&] { return reads > after; }));
    over = true;
    reader.join();
    co_return engine::ok;
  });
}

BOOST_AUTO_TEST_CASE(what_throws_inside_is_answered_and_holds_nobody) {
  Machine machine;
  if (!machine) return;
  machine.run([](Machine& m, Coordinator& c) -> engine::task<> {
    Tally tally;
    const auto first = co_await order(c, Cause::kTick, tally);
    BOOST_TEST(first.has_value());
    const SnapshotView view = m.recorder->ring().newest();
    const std::runtime_error made_before("somewhere inside");  // nothing is allocated there
    const auto act = [&made_before] { throw made_before; };
    const auto done = co_await c.inside(act);
    BOOST_REQUIRE(done.is_error());
    BOOST_TEST(done.error().message == "somewhere inside");
    BOOST_TEST(m.guest->wait_for_progress(TINY_COUNT));
    std::array<std::byte, 8> bytes{};
    BOOST_TEST(view.read(0, 0, bytes));
    const auto next = co_await order(c, Cause::kTick, tally);
    BOOST_TEST(next.has_value());
    BOOST_TEST(tally.taken == 2u);
    co_return engine::ok;
  });
}

BOOST_AUTO_TEST_CASE(an_order_that_cannot_be_served_is_refused_and_says_why) {
  Machine machine;
  if (!machine) return;
  machine.run([](Machine&, Coordinator& c) -> engine::task<> {
    Tally tally;
    const auto late = co_await order(c, Cause::kOperator, tally, 1ns);
    BOOST_TEST(late.has_value());
    BOOST_REQUIRE(tally.refused == 1u);
    BOOST_TEST(tally.reasons.back().find("no capture within") == 0u, tally.reasons.back());
    // More than can wait.
    engine::scope orders("orders");
    for (std::size_t i = 0; i < Coordinator::kMostWaiting + 10; ++i) orders.spawn(order(c, Cause::kGuest, tally), "order");
    const auto joined = co_await orders.join();
    BOOST_TEST(joined.has_value());
    BOOST_TEST(tally.answered == Coordinator::kMostWaiting + 11);
    BOOST_TEST(tally.refused >= 10u);
    BOOST_TEST(tally.refused + tally.taken == tally.answered);
    // Nobody waits for a coordinator that has ended.
    engine::scope last("last orders");
    tally = {};
    last.spawn(order(c, Cause::kGuest, tally), "order");
    c.close();
    const auto over = co_await order(c, Cause::kGuest, tally);
    BOOST_TEST(over.has_value());
    const auto told = co_await last.join();
    BOOST_TEST(told.has_value());
    BOOST_TEST(tally.answered == 2u);
    BOOST_TEST(tally.refused >= 1u);
    BOOST_TEST(tally.reasons.back() == "the run is ending");
    co_return engine::ok;
  });
}

BOOST_AUTO_TEST_SUITE_END()
