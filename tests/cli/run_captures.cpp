// The captures of a run, from the request to the file, over a guest whose vCPUs run and whose kernel the test has made.
#include "cli/run_captures.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>
#include <thread>

#include "base/file.hpp"
#include "tests/cli/live_run.hpp"

using namespace floe;
using namespace floe::cli;
using namespace std::chrono_literals;
using freeze::FailureCapture;
using vmm::wire::SnapshotReply;
using vmm::wire::SnapshotRequest;

namespace {

SnapshotRequest capture(std::uint32_t id, std::string tag) {
  return {id, SnapshotRequest::kCapture, std::move(tag)};
}

bool has_file(const LiveRun& run, const std::string& name) {
  return std::filesystem::exists(run.files.path() / "run" / name);
}

std::string file(const LiveRun& run, const std::string& name) {
  const auto text = read_text((run.files.path() / "run" / name).string());
  BOOST_REQUIRE_MESSAGE(text.has_value(), name << " is not there");
  return *text;
}

// vCPU 1 stands in a device, from where no kick gets it.
void hold_a_vcpu(LiveRun& run) {
  run.guest->close_latch();
  run.guest->set_mode(1, TINY_LATCH);
  BOOST_REQUIRE(run.guest->wait([&] { return run.guest->latched(); }));
}

bool knows_words(LiveRun& run, RunCaptures& captures) {
  run.report = RunReport();
  captures.report(run.report);
  return run.report.latch->problem.find("never looked at") == std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(run_captures)

BOOST_AUTO_TEST_CASE(every_request_of_the_guest_has_one_answer_and_its_file) {
  LiveRun run;
  if (!run) return;
  run.run({}, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    LiveRun::ask(c, capture(1, "a"));
    LiveRun::ask(c, capture(2, "b"));
    LiveRun::ask(c, {3, 77, "c"});  // of a kind that nobody knows
    LiveRun::ask(c, {4, SnapshotRequest::kWatch, "no_such_symbol"});
    vmm::wire::Frame broken;
    broken.type = vmm::wire::kSnapshotRequest;
    BOOST_TEST(c.take(broken));  // nobody's to answer
    const auto is_answered = [&] { return r.replies().size() >= 4; };
    const auto answered = co_await LiveRun::until(is_answered);
    co_return answered.has_value() ? engine::outcome<>(engine::ok) : engine::outcome<>(answered.failure());
  });
  std::map<std::uint32_t, SnapshotReply> by_id;
  for (const auto& reply : run.replies()) BOOST_TEST(by_id.emplace(reply.id, reply).second);
  BOOST_REQUIRE(by_id.size() == 4u);
  BOOST_TEST(by_id[1].status == SnapshotReply::kOk, by_id[1].reason);
  BOOST_TEST(by_id[2].status == SnapshotReply::kOk, by_id[2].reason);
  BOOST_TEST(by_id[3].reason == "a request of kind 77 is not known");
  BOOST_TEST(by_id[4].reason.find("no_such_symbol") != std::string::npos, by_id[4].reason);
  BOOST_TEST(file(run, "run.snapshot.a.json") == file(run, "run.snapshot.b.json"));
  BOOST_TEST(run.report.captures_answered == 2u);
  BOOST_TEST(run.report.wire_unknown_frames == 1u);
}

// The rendezvous takes its 2 s; the guest would take the silence for a dead port.
BOOST_AUTO_TEST_CASE(what_takes_too_long_goes_on_and_the_guest_is_told_in_time) {
  LiveRun run;
  if (!run) return;
  RunCaptures::Setting setting;
  setting.answer_limit = 50ms;
  run.run(setting, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    hold_a_vcpu(r);
    LiveRun::ask(c, capture(1, "slow"));
    const auto is_answered = [&] { return !r.replies().empty(); };
    const auto answered = co_await LiveRun::until(is_answered);
    BOOST_TEST(answered.has_value());
    const auto is_counted = [&] {
      c.report(r.report);
      return r.report.captures_answered == 1;
    };
    const auto counted = co_await LiveRun::until(is_counted);
    r.guest->open_latch();
    co_return counted.has_value() ? engine::outcome<>(engine::ok) : engine::outcome<>(counted.failure());
  });
  BOOST_REQUIRE(run.replies().size() == 1u);
  BOOST_TEST(run.replies().front().status == SnapshotReply::kError);
  BOOST_TEST(run.replies().front().reason.find("not done within 50 ms") == 0u);
  BOOST_TEST(file(run, "run.snapshot.slow.json").find("\"degraded\"") != std::string::npos);
}

// An answer with the reason, and no empty report; what is asked for later finds the kernel.
BOOST_AUTO_TEST_CASE(before_there_is_a_kernel_requests_are_refused_and_say_why) {
  LiveRun run(false);
  if (!run) return;
  run.run({}, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    LiveRun::ask(c, capture(1, "early"));
    LiveRun::ask(c, {2, SnapshotRequest::kWatch, "scx_root"});
    const auto is_refused = [&] { return r.replies().size() >= 2; };
    const auto refused = co_await LiveRun::until(is_refused);
    BOOST_TEST(refused.has_value());
    const auto report = c.bridge().find("early");
    BOOST_REQUIRE(report);
    BOOST_TEST(report->is_placeholder);
    r.scx.attach("mine");
    r.sync();
    LiveRun::ask(c, capture(3, "later"));
    const auto is_answered = [&] { return r.replies().size() >= 3; };
    const auto answered = co_await LiveRun::until(is_answered);
    co_return answered.has_value() ? engine::outcome<>(engine::ok) : engine::outcome<>(answered.failure());
  });
  std::map<std::uint32_t, SnapshotReply> by_id;
  for (const auto& reply : run.replies()) by_id.emplace(reply.id, reply);
  BOOST_TEST(by_id[1].status == SnapshotReply::kError);
  BOOST_TEST(by_id[1].reason.find("no report: ") == 0u, by_id[1].reason);
  BOOST_TEST(by_id[2].status == SnapshotReply::kError);
  BOOST_TEST(by_id[3].status == SnapshotReply::kOk, by_id[3].reason);
  BOOST_TEST(!has_file(run, "run.snapshot.early.json"));
  BOOST_TEST(has_file(run, "run.snapshot.later.json"));
}

BOOST_AUTO_TEST_CASE(after_the_schedulers_end_captures_are_served_and_change_nothing_of_it) {
  LiveRun run;
  if (!run) return;
  run.scx.attach("mine");
  run.sync();
  run.run({}, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    const auto in_charge = co_await r.series->hurry(freeze::Cause::kTick);
    BOOST_TEST(in_charge.has_value());
    r.scx.exit(1025, "scx_bpf_error", "it fails", "");
    r.sync();
    c.late();
    const auto is_read = [&] { return r.words_read != 0; };
    const auto read = co_await LiveRun::until(is_read);
    BOOST_TEST(read.has_value());
    BOOST_TEST(r.late_taken >= 1u);
    const auto failure = r.series->scheduler().failure();
    BOOST_REQUIRE(failure);
    // Done.
    LiveRun::ask(c, capture(1, "afterwards"));
    const auto is_answered = [&] { return !r.replies().empty(); };
    const auto answered = co_await LiveRun::until(is_answered);
    BOOST_TEST(answered.has_value());
    auto asked = c.answer(R"({"snapshot":"operator"})");
    const auto operators = co_await std::move(asked);
    BOOST_TEST(operators.has_value());
    BOOST_TEST(operators->find("\"ok\":true") != std::string::npos, *operators);
    co_return engine::ok;
  });
  BOOST_TEST(run.replies().front().status == SnapshotReply::kOk, run.replies().front().reason);
  BOOST_REQUIRE(run.report.captures.size() == 2u);
  const auto dump = file(run, "run.failure-dump.json");
  BOOST_TEST(dump.find("\"sequence\":2") != std::string::npos);
  BOOST_TEST(dump.find(fmt::format("\"sequence\":{}", run.report.captures.front().sequence)) == std::string::npos);
  BOOST_TEST(run.report.captures.front().sequence > 2u);
  BOOST_TEST(has_file(run, "run.snapshot.afterwards.json"));
  BOOST_TEST(has_file(run, "run.snapshot.operator.json"));
}

BOOST_AUTO_TEST_CASE(two_degraded_periodic_captures_in_a_row_are_the_last) {
  LiveRun run;
  if (!run) return;
  RunCaptures::Setting setting;
  setting.periodic = 4;
  setting.duration = 1500ms;
  run.run(setting, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    hold_a_vcpu(r);
    r.guest->vm().set_give_up([] { return true; });  // 2 s otherwise, each
    const auto is_captured = [&] {
      r.report = RunReport();
      c.report(r.report);
      return !r.report.periodic->reason.empty() && r.report.periodic->degraded == 2;
    };
    const auto captured = co_await LiveRun::until(is_captured);
    r.guest->open_latch();
    r.guest->vm().set_give_up({});
    const auto passed = co_await engine::sleep_for(1500ms);  // the others would be due
    BOOST_TEST(passed.has_value());
    co_return captured.has_value() ? engine::outcome<>(engine::ok) : engine::outcome<>(captured.failure());
  });
  BOOST_TEST(run.report.periodic->captured == 0u);
  BOOST_TEST(run.report.periodic->degraded == 2u);
  BOOST_TEST(run.report.periodic->reason.find("two captures in a row") == 0u, run.report.periodic->reason);
  for (const char* name : {"run.snapshot.periodic_000.json", "run.snapshot.periodic_001.json"})
    BOOST_TEST(file(run, name).find("1/2 vCPUs parked; missing: vCPU 1") != std::string::npos);
  BOOST_TEST(!has_file(run, "run.snapshot.periodic_002.json"));
}

// One that is due while a scheduler has gone and the next has not come yet would show neither.
BOOST_AUTO_TEST_CASE(a_periodic_capture_waits_until_the_next_scheduler_is_in_charge) {
  LiveRun run;
  if (!run) return;
  run.scx.attach("one");
  run.sync();
  RunCaptures::Setting setting;
  setting.has_scheduler = true;
  setting.periodic = 3;
  setting.duration = 2s;  // from 0.25 s on they are due each 0.4 s or less
  run.run(setting, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    const auto has_captured = [&](std::uint64_t count) {
      return [&r, &c, count] {
        r.report = RunReport();
        c.report(r.report);
        return r.report.periodic->captured >= count;
      };
    };
    const auto first = has_captured(1);
    const auto captured = co_await LiveRun::until(first);
    BOOST_TEST(captured.has_value());
    r.scx.detach();
    r.sync();
    const auto waited = co_await engine::sleep_for(800ms);  // long enough for the next to be due
    BOOST_TEST(waited.has_value());
    BOOST_TEST(!has_captured(2)());
    r.scx.attach("two");
    r.sync();
    const auto all = has_captured(3);
    const auto done = co_await LiveRun::until(all);
    co_return done.has_value() ? engine::outcome<>(engine::ok) : engine::outcome<>(done.failure());
  });
  for (const auto& [tag, name] : {std::pair("periodic_000", "one"), std::pair("periodic_001", "two"), std::pair("periodic_002", "two")})
    BOOST_TEST(file(run, fmt::format("run.snapshot.{}.json", tag)).find(fmt::format("\"ops_name\":\"{}\"", name)) != std::string::npos);
  BOOST_TEST(run.report.periodic->suppressed == 0u);
}

BOOST_AUTO_TEST_CASE(a_capture_keeps_the_step_in_which_it_was_asked_for) {
  LiveRun run;
  if (!run) return;
  run.run({}, [](LiveRun& r, RunCaptures&) -> engine::task<> {
    OnDemand captures(*r.series, {});
    captures.set_step(1);
    const auto take = [](OnDemand& from) -> engine::task<> {
      const PeriodicMoment when{5, 4};
      const auto made = co_await from.capture(freeze::Cause::kPeriodic, "periodic_000", when);
      BOOST_TEST(made.has_value());
      co_return engine::ok;
    };
    engine::scope asking("capture");
    asking.spawn(take(captures), "capture");
    co_await engine::yield();
    captures.set_step(2);
    const auto taken = co_await asking.join();
    BOOST_TEST(taken.has_value());
    const auto drained = captures.bridge().drain_ordered_with_stats();
    BOOST_REQUIRE(drained.size() == 1u);
    BOOST_TEST(drained.front().step_index.value() == 1u);
    BOOST_TEST(drained.front().boundary_offset_ms.value() == 4u);
    co_return engine::ok;
  });
}

// The guest goes down before anybody has polled again.
BOOST_AUTO_TEST_CASE(what_happened_since_the_last_poll_is_seen_at_the_end) {
  LiveRun run;
  if (!run) return;
  run.scx.attach("mine");
  run.sync();
  RunCaptures::Setting setting;
  setting.latch = freeze::parse_latch("nobody.bss:error").value();
  run.run(setting, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    const auto is_known = [&] { return knows_words(r, c); };
    const auto known = co_await LiveRun::until(is_known);
    BOOST_TEST(known.has_value());
    r.scx.exit(1025, "scx_bpf_error", "it fails", "");
    r.sync();
    c.last_look();
    c.end();
    BOOST_TEST(r.late_taken == 0u);
    co_return engine::ok;
  });
  BOOST_TEST(run.late_taken == 1u);
  BOOST_TEST(file(run, "run.failure-dump.json").find("it fails") != std::string::npos);
}

// What a program in C++ does instead of writing a scenario in JSON: from a thread of its own, by the bridge of the run.
BOOST_AUTO_TEST_CASE(another_thread_captures_watches_and_writes_by_the_bridge_of_the_run) {
  LiveRun run;
  if (!run) return;
  run.scx.attach("mine");
  run.sync();
  run.run({}, [](LiveRun& r, RunCaptures& c) -> engine::task<> {
    engine::mailbox<int> done;
    std::thread user([&done, bridge = c.bridge()] {
      const auto guard = freeze::SnapshotBridge::set_thread_local(bridge);
      auto active = freeze::require_active_bridge("the test").value();
      BOOST_TEST(active.capture("a"));
      const auto report = active.find("a");
      BOOST_REQUIRE(report);
      BOOST_TEST(report->scx_sched_state->ops_name.value() == "mine");
      vmm::wire::KernelOpRequest write;
      write.id = 5;
      write.mode = vmm::wire::KernelOpRequest::Mode::kCold;
      write.direction = vmm::wire::KernelOpRequest::Direction::kWrite;
      write.entries = {{vmm::wire::SymbolTarget{"scx_root"}, std::uint64_t{0}}};
      const auto watched = active.register_watch("scx_root");
      BOOST_TEST(watched.has_value());
      BOOST_TEST(active.watch_count() == 1u);
      const auto reply = active.kernel_op(write);
      BOOST_TEST(reply.success, reply.reason);
      BOOST_TEST(!active.register_watch("no_such_symbol").has_value());
      done.post(0);
    });
    const auto ended = co_await done.receive();
    user.join();
    BOOST_TEST(ended.has_value());
    // Its own write has fired the watch, which is free again.
    const auto is_fired = [&] { return c.bridge().has("scx_root"); };
    const auto fired = co_await LiveRun::until(is_fired);
    BOOST_TEST(fired.has_value());
    BOOST_TEST(c.bridge().watch_count() == 0u);
    BOOST_TEST(!freeze::require_active_bridge("the engine's thread").has_value());
    (void)r;
    co_return engine::ok;
  });
  BOOST_REQUIRE(run.report.captures.size() == 2u);
  BOOST_TEST(run.report.captures.back().tag == "scx_root");
  BOOST_TEST((run.report.captures.back().cause == freeze::Cause::kWatch));
  BOOST_TEST(has_file(run, "run.snapshot.a.json"));
}

BOOST_AUTO_TEST_SUITE_END()
