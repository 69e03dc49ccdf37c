// Which snapshots of a run become its failure dump, and what they say of the scheduler's end.
#include "freeze/dump/failure_dump.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>

#include "freeze/snapshot_memory.hpp"
#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::dump;
using walkers::synthetic::ScxGuest;

namespace {

constexpr std::uint64_t kRamBytes = std::uint64_t{512} << 20;
constexpr std::uint64_t kUserDsq = 0x100;

// A guest whose snapshots are kept, as a run does.
struct Run {
  ScxGuest guest;
  std::shared_ptr<PageStore> store = PageStore::create({.byte_limit = 64 << 20}).value();
  SnapshotRing ring{store, {.pages = kRamBytes / kPageBytes, .depth = 4, .byte_limit = 64 << 20}};
  RamLayout layout = RamLayout::create({{Gpa(0), kRamBytes, 0}}).value();
  std::uint64_t sequence = 0;

  SnapshotView snapshot() {
    std::vector<PageChange> pages;
    for (const auto& range : guest.guest.memory.populated())
      for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes) pages.push_back(page_at(range.start + at));
    SnapshotMeta meta;
    meta.sequence = ++sequence;
    BOOST_REQUIRE(ring.push(meta, {}, pages));
    return ring.newest();
  }

  PageChange page_at(Gpa gpa) {
    std::array<std::byte, kPageBytes> bytes{};
    BOOST_REQUIRE(guest.guest.memory.read(gpa, bytes) == bytes.size());
    return {static_cast<std::uint32_t>(gpa.value / kPageBytes), ring.put(bytes).value()};
  }

  // The scheduler in charge, one task on its DSQ.
  SnapshotView before() {
    guest.attach("mine");
    const Kva task = guest.add_task(13, "stuck");
    guest.make_runnable(task, 0, 900);
    guest.enqueue(task, guest.add_user_dsq(kUserDsq, 0));
    return snapshot();
  }
  SnapshotView exiting() {
    guest.exit(1026, "runnable task stall", "stuck[13] failed to run for 5.008s", "its dump");
    return snapshot();
  }
  SnapshotView gone() {
    guest.detach();
    return snapshot();
  }

  FailureDump dump(const SchedulerFailure& failure, const SnapshotView* before, const SnapshotView* late) const {
    FailureSource source;
    source.before = before;
    source.late = late;
    source.layout = &layout;
    return make_failure_dump(failure, source);
  }
};

SchedulerFailure logged(bool stall) {
  SchedulerFailure failure;
  failure.stall = stall;
  failure.reason = "what the log says";
  failure.message = "and why";
  failure.shown_by = 2;
  return failure;
}

bool has_stuck_task(const Report& report) {
  return std::any_of(report.dsq_states.begin(), report.dsq_states.end(),
                     [](const auto& dsq) { return dsq.id == kUserDsq && dsq.tasks.size() == 1; });
}

bool says_that_the_exit_is_later(const Report& report) {
  return std::any_of(report.reasons.begin(), report.reasons.end(),
                     [](const auto& reason) { return reason.section == "exit_info" && reason.text == "of snapshot 2, after this one"; });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(failure_dump)

BOOST_AUTO_TEST_CASE(the_snapshot_before_the_exit_is_the_main_one) {
  Run run;
  const auto before = run.before(), late = run.exiting();
  const auto made = run.dump(logged(true), &before, &late);
  BOOST_TEST(made.main.capture->sequence.value() == 1u);
  BOOST_TEST(has_stuck_task(made.main));
  BOOST_TEST(made.main.scx_sched_state->exit_kind == 0u);
  // Why it ended is of the later snapshot, which knows better than the log, and that is said.
  BOOST_REQUIRE(made.main.exit_info);
  BOOST_TEST(made.main.exit_info->kind == 1026u);
  BOOST_TEST(made.main.exit_info->msg == "stuck[13] failed to run for 5.008s");
  BOOST_TEST(says_that_the_exit_is_later(made.main));
  BOOST_REQUIRE(made.late);
  BOOST_TEST(made.late->capture->sequence.value() == 2u);
  BOOST_TEST(made.late->exit_info->dump == "its dump");
  BOOST_TEST(!says_that_the_exit_is_later(*made.late));
}

BOOST_AUTO_TEST_CASE(an_exit_that_no_snapshot_has_is_told_by_the_log) {
  for (const bool stall : {true, false}) {
    Run run;
    const auto before = run.before(), late = run.gone();
    const auto made = run.dump(logged(stall), &before, &late);
    BOOST_REQUIRE(made.main.exit_info);
    BOOST_TEST(made.main.exit_info->kind == (stall ? 1026u : 1024u));
    BOOST_TEST(made.main.exit_info->reason == "what the log says");
    BOOST_TEST(made.main.exit_info->msg == "and why");
    BOOST_TEST(says_that_the_exit_is_later(made.main));
    BOOST_TEST(!made.late->exit_info);
  }
}

BOOST_AUTO_TEST_CASE(a_wait_that_was_too_long_has_one_snapshot_and_no_exit) {
  Run run;
  const auto before = run.before();
  SchedulerFailure failure;
  failure.stall = true;
  failure.shown_by = 1;
  for (const SnapshotView* late : {static_cast<const SnapshotView*>(nullptr), &before}) {
    const auto made = run.dump(failure, &before, late);
    BOOST_TEST(made.main.capture->sequence.value() == 1u);
    BOOST_TEST(has_stuck_task(made.main));
    BOOST_TEST(!made.main.exit_info);
    BOOST_TEST(!made.late);
  }
}

BOOST_AUTO_TEST_CASE(without_an_earlier_snapshot_the_late_one_is_the_main_one) {
  Run run;
  (void)run.before();
  const auto late = run.exiting();
  const auto made = run.dump(logged(true), nullptr, &late);
  BOOST_TEST(made.main.capture->sequence.value() == 2u);
  BOOST_TEST(made.main.exit_info->dump == "its dump");
  BOOST_TEST(!says_that_the_exit_is_later(made.main));
  BOOST_TEST(!made.late);
}

BOOST_AUTO_TEST_CASE(each_snapshot_s_dump_has_what_was_counted_before_it) {
  Run run;
  run.guest.attach("mine");
  EventTimeline timeline;
  std::vector<SnapshotView> views;
  for (const int kept_last : {4, 5}) {
    run.guest.add_event(0, "SCX_EV_DISPATCH_KEEP_LAST", kept_last);
    views.push_back(run.snapshot());
    const RingMemory memory(views.back(), run.layout);
    timeline.look(walkers::Kernel::open(memory, {}).value(), views.back().meta(), walkers::WalkBudget(10'000));
  }
  FailureSource source;
  source.layout = &run.layout;
  source.events = &timeline;
  for (std::size_t n = 0; n < views.size(); ++n) {
    const auto report = report_of(views[n], source).value();
    BOOST_REQUIRE(report.event_counter_timeline.size() == n + 1);
    BOOST_TEST(report.event_counter_timeline.front().dispatch_keep_last == 4);
    BOOST_TEST(report.event_counter_timeline.back().dispatch_keep_last == (n == 0 ? 4 : 5));
    BOOST_TEST(report.vcpu_perf_unavailable.value() == "not counted");
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_a_placeholder_beside_the_other) {
  Run run;
  BOOST_TEST(run.dump(logged(true), nullptr, nullptr).main.is_placeholder);
  const auto before = run.before();
  for (const auto& range : run.guest.guest.memory.populated())
    for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes)
      run.guest.guest.memory.write(range.start + at, std::array<std::byte, kPageBytes>{});
  const auto wiped = run.snapshot();
  const auto made = run.dump(logged(true), &before, &wiped);
  BOOST_TEST(!made.main.is_placeholder);
  BOOST_TEST(made.main.exit_info->msg == "and why");
  BOOST_TEST(made.late->is_placeholder);
  BOOST_TEST(run.dump(logged(true), &wiped, &before).main.is_placeholder);
}

BOOST_AUTO_TEST_SUITE_END()
