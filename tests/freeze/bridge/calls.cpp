// A bridge whose callbacks are coroutines of the engine's thread, used from others.
#include "freeze/bridge/calls.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "tests/tiny/recorder.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

namespace {

BridgeCallbacks quiet(BridgeCallbacks callbacks) {
  callbacks.log = [](const std::string&) {};
  return callbacks;
}

engine::task<SharedReport> no_report(std::string) {
  co_return SharedReport();
}

engine::task<SharedReport> named_report(std::string name) {
  auto made = std::make_shared<dump::Report>();
  made->schema = std::move(name);
  co_return SharedReport(std::move(made));
}

engine::task<> watch_some(std::string symbol) {
  if (symbol == "none") co_return fail("no such symbol");
  co_return engine::ok;
}

engine::task<KernelReply> answer_id(KernelOpRequest request) {
  KernelReply reply;
  reply.id = request.id;
  reply.values.emplace_back(std::uint64_t{request.id});
  co_return std::move(reply);
}

engine::task<KernelReply> never(KernelOpRequest) {
  const auto slept = co_await engine::sleep_for(1h);
  co_return slept.failure();
}

KernelOpRequest operation(std::uint32_t id) {
  KernelOpRequest request;
  request.id = id;
  request.tag = "op";
  return request;
}

// Runs `use` on threads of their own, beside the calls' loop, which goes on until all of them have ended.
template <class Use>
void beside_loop(BridgeCalls::Doing doing, unsigned threads, const Use& use) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  struct Story {
    static engine::task<> tell(BridgeCalls::Doing doing, unsigned threads, const Use& use) {
      BridgeCalls calls(std::move(doing));
      SnapshotBridge bridge(quiet(calls.callbacks()));
      engine::mailbox<int> done;
      std::vector<std::thread> users;
      for (unsigned i = 0; i < threads; ++i)
        users.emplace_back([&, i] {
          const auto guard = SnapshotBridge::set_thread_local(bridge);
          use(i);
          done.post(0);
        });
      engine::scope serving("bridge");
      serving.spawn(calls.serve(), "bridge");
      for (unsigned i = 0; i < threads; ++i) {
        const auto ended = co_await done.receive();
        if (!ended) co_return ended.failure();
      }
      for (auto& user : users) user.join();
      serving.request_stop();
      const auto stopped = co_await serving.join();
      (void)stopped;
      co_return engine::ok;
    }
  };
  const auto told = (*loop)->run(Story::tell(std::move(doing), threads, use), "test");
  BOOST_REQUIRE_MESSAGE(told.has_value(), (told.is_error() ? told.error().message : "cancelled"));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(calls)

BOOST_AUTO_TEST_CASE(threads_get_what_the_engine_did_for_them_each_his_own) {
  std::atomic<unsigned> right{0};
  beside_loop({named_report, watch_some, answer_id}, 4, [&](unsigned thread) {
    for (unsigned i = 0; i < 200; ++i) {
      const std::uint32_t id = thread * 1000 + i + 1;
      const auto bridge = require_active_bridge("the test").value();
      const std::string name = "t" + std::to_string(id % 16);
      auto asked = bridge;
      const auto reply = asked.kernel_op(operation(id));
      const bool captured = asked.capture(name);
      right += reply.id == id && std::get<std::uint64_t>(reply.values.front()) == id && captured && asked.find(name)->schema == name;
    }
  });
  BOOST_TEST(right == 800u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_done_is_said_and_a_watch_that_failed_is_none) {
  bool captured = true, watched = false, missing = true;
  std::string why;
  unsigned count = 0, events = 0;
  beside_loop({no_report, watch_some, answer_id}, 1, [&](unsigned) {
    auto bridge = *SnapshotBridge::active();
    captured = bridge.capture("a");
    events = static_cast<unsigned>(bridge.event_count());
    watched = bridge.register_watch("jiffies").has_value();
    const auto refused = bridge.register_watch("none");
    missing = refused.has_value();
    why = refused ? "" : refused.error().message;
    count = bridge.watch_count();
  });
  BOOST_TEST(!captured);
  BOOST_TEST(events == 1u);
  BOOST_TEST(watched);
  BOOST_TEST(!missing);
  BOOST_TEST(why == "no such symbol");
  BOOST_TEST(count == 1u);
}

BOOST_AUTO_TEST_CASE(whoever_waits_when_it_ends_and_whoever_comes_later_is_refused) {
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  std::optional<BridgeCalls> calls;
  std::optional<SnapshotBridge> bridge;
  KernelReply waiting, own;
  std::atomic<bool> asked{false};
  const auto tell = [](std::optional<BridgeCalls>& made, std::optional<SnapshotBridge>& with, KernelReply& own_reply,
                       std::atomic<bool>& is_asked) -> engine::task<> {
    made.emplace(BridgeCalls::Doing{no_report, watch_some, [&is_asked](KernelOpRequest request) {
                                      is_asked = true;
                                      return never(std::move(request));
                                    }});
    with.emplace(quiet(made->callbacks()));
    own_reply = with->kernel_op(operation(7));
    co_return engine::ok;
  };
  BOOST_REQUIRE((*loop)->run(tell(calls, bridge, own, asked), "test").has_value());
  BOOST_TEST(!own.success);
  BOOST_TEST(own.reason.find("the engine's own thread") == 0u, own.reason);
  std::thread user([&] { waiting = bridge->kernel_op(operation(8)); });
  const auto serve_until_asked = [](BridgeCalls& served, std::atomic<bool>& is_asked) -> engine::task<> {
    engine::scope serving("bridge");
    serving.spawn(served.serve(), "bridge");
    while (!is_asked) {
      const auto slept = co_await engine::sleep_for(1ms);
      if (!slept) co_return slept.failure();
    }
    serving.request_stop();
    const auto stopped = co_await serving.join();
    (void)stopped;
    co_return engine::ok;
  };
  const auto served = (*loop)->run(serve_until_asked(*calls, asked), "test");
  user.join();
  BOOST_TEST(served.has_value());
  BOOST_TEST(!waiting.success);
  BOOST_TEST(waiting.id == 8u);
  BOOST_TEST(waiting.reason == "the run is ending");
  calls.reset();
  loop->reset();
  bool captured = true;
  Result<void> watched;
  std::thread([&] {
    captured = bridge->capture("late");
    watched = bridge->register_watch("jiffies");
  }).join();
  BOOST_TEST(!captured);
  BOOST_REQUIRE(!watched);
  BOOST_TEST(watched.error().message == "the run is ending");
  BOOST_TEST(!require_active_bridge("a capture").has_value());
}

BOOST_AUTO_TEST_CASE(a_thread_without_an_engine_captures_a_guest_that_runs) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  auto made = tiny::Guest::create({.cpus = 2});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  tiny::Guest& guest = **made;
  auto recording = tiny::Recorder::create(guest, {});
  BOOST_REQUIRE_MESSAGE(recording.has_value(), (recording ? "" : recording.error().message));
  tiny::Recorder& recorder = **recording;
  guest.set_mode(TINY_COUNT);
  guest.start();
  BOOST_REQUIRE(guest.wait_for_progress(TINY_COUNT));
  static Coordinator* freezes = nullptr;
  const auto capture = [](std::string) -> engine::task<SharedReport> {
    auto answer = co_await freezes->capture(Cause::kScenario);
    if (!answer) co_return answer.failure();
    if (!answer->taken()) co_return SharedReport();
    auto report = std::make_shared<dump::Report>();
    report->capture.emplace().sequence = answer->capture->take.meta.sequence;
    co_return SharedReport(std::move(report));
  };
  constexpr unsigned kCaptures = 20;
  std::vector<std::uint64_t> sequences;
  const auto story = [](BridgeCalls::Doing doing, std::vector<std::uint64_t>& seen) -> engine::task<> {
    BridgeCalls calls(std::move(doing));
    SnapshotBridge bridge(quiet(calls.callbacks()));
    engine::mailbox<int> done;
    std::thread user([&] {
      const auto guard = SnapshotBridge::set_thread_local(bridge);
      for (unsigned i = 0; i < kCaptures; ++i)
        with_active_bridge([&](SnapshotBridge& active) {
          if (active.capture("a")) seen.push_back(*active.find("a")->capture->sequence);
        });
      done.post(0);
    });
    engine::scope serving("bridge");
    serving.spawn(calls.serve(), "bridge");
    const auto ended = co_await done.receive();
    user.join();
    serving.request_stop();
    const auto stopped = co_await serving.join();
    (void)stopped;
    if (!ended) co_return ended.failure();
    co_return engine::ok;
  };
  const auto with_coordinator = [](tiny::Guest& of, tiny::Recorder& by, engine::task<> told) -> engine::task<> {
    Coordinator coordinator(of.vm(), by.snapshotter(), by.ring(), by.pool(), 10s);
    freezes = &coordinator;
    auto both = tiny::beside(coordinator, std::move(told));
    const auto ended = co_await std::move(both);
    freezes = nullptr;
    if (!ended) co_return ended.failure();
    co_return engine::ok;
  };
  const auto told = recorder.loop().run(with_coordinator(guest, recorder, story({capture, watch_some, answer_id}, sequences)), "test");
  BOOST_REQUIRE_MESSAGE(told.has_value(), (told.is_error() ? told.error().message : "cancelled"));
  BOOST_REQUIRE(sequences.size() == kCaptures);
  for (unsigned i = 0; i < kCaptures; ++i) BOOST_TEST(sequences[i] == i + 1);
}

BOOST_AUTO_TEST_SUITE_END()
