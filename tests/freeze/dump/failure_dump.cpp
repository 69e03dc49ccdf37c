// Which snapshots of a run become its failure dump, and what they say of the scheduler's end.
#include "freeze/dump/failure_dump.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>

#include "freeze/snapshot_memory.hpp"
#include "tests/walkers/synthetic/printk_ring.hpp"
#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::dump;
using walkers::synthetic::PrintkRing;
using walkers::synthetic::ScxGuest;

namespace {

constexpr std::uint64_t kRamBytes = std::uint64_t{512} << 20;
constexpr std::uint64_t kUserDsq = 0x100;
constexpr std::uint64_t kHz = 250;

// A guest whose snapshots are kept, as a run does.
struct Run {
  ScxGuest guest{{.more = PrintkRing::needs()}};
  PrintkRing log{guest.guest};
  std::shared_ptr<PageStore> store = PageStore::create({.byte_limit = 64 << 20}).value();
  SnapshotRing ring{store, {.pages = kRamBytes / kPageBytes, .depth = 4, .byte_limit = 64 << 20}};
  RamLayout layout = RamLayout::create({{Gpa(0), kRamBytes, 0}}).value();
  std::uint64_t sequence = 0;
  Kva task;

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

  // The scheduler in charge, one task on its DSQ that has waited so long.
  SnapshotView before(std::uint64_t jiffies) {
    guest.attach("mine");
    task = guest.add_task(13, "stuck");
    guest.make_runnable(task, 0, jiffies);
    guest.enqueue(task, guest.add_user_dsq(kUserDsq, 0));
    return snapshot();
  }
  void wait_for(std::uint64_t jiffies) { guest.waited(task, jiffies); }
  SnapshotView exiting(std::uint32_t kind = 1026, const std::string& reason = "runnable task stall",
                       const std::string& message = "stuck[13] failed to run for 5.008s") {
    guest.exit(kind, reason, message, message.empty() ? "" : "its dump");
    return snapshot();
  }
  SnapshotView gone() {
    guest.detach();
    return snapshot();
  }

  // As a run looks at what was taken.
  std::shared_ptr<const SnapshotView> look(SnapshotView&& taken) {
    const auto view = std::make_shared<const SnapshotView>(std::move(taken));
    const RingMemory memory(*view, layout);
    walkers::OpenOptions how;
    how.previous = kernel ? &*kernel : nullptr;
    auto opened = walkers::Kernel::open(memory, how);
    if (opened) {
      kernel.emplace(std::move(*opened));
      watch.look(*kernel, view->meta().sequence, walkers::WalkBudget(100'000));
    }
    captured.looked(view, watch);
    return view;
  }

  FailureDump dump() const {
    DumpSource source;
    source.layout = &layout;
    return make_failure_dump(captured, watch, source);
  }

  SchedulerWatch watch;
  FailureCapture captured;
  std::optional<walkers::Kernel> kernel;
};

const DualReport& dual(const FailureDump& dump) {
  BOOST_REQUIRE(!dump.files.empty());
  BOOST_TEST(dump.files.front().name == "run.failure-dump.json");
  return std::get<DualReport>(dump.files.front().report);
}

const Report& sibling(const FailureDump& dump, const std::string& tag) {
  for (const auto& file : dump.files)
    if (file.name == "run.snapshot." + tag + ".json") return std::get<Report>(file.report);
  BOOST_FAIL("no sibling " << tag);
  std::abort();
}

bool has_stuck_task(const Report& report) {
  return std::any_of(report.dsq_states.begin(), report.dsq_states.end(),
                     [](const auto& dsq) { return dsq.id == kUserDsq && dsq.tasks.size() == 1; });
}

bool says(const Report& report, const std::string& about_exit) {
  return std::any_of(report.reasons.begin(), report.reasons.end(),
                     [&](const auto& reason) { return reason.section == "exit_info" && reason.text == about_exit; });
}

// `kind`: what the scheduler's word says meanwhile.
std::shared_ptr<const Captured> without_a_vcpu(std::optional<std::uint32_t> kind = std::nullopt) {
  auto capture = std::make_shared<Captured>();
  capture->take.result = TakeResult::kRendezvousTimeout;
  capture->take.meta.pause_us = 2'001'000;
  capture->take.at_gate = {{true, 0xffffffff81000000, 0xffffc90000000000, 0x1000}, {}};
  capture->reason = describe_rendezvous(capture->take);
  capture->words = {kind.has_value(), kind, LatchState::not_triggered};
  return capture;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(failure_dump)

BOOST_AUTO_TEST_CASE(a_stall_has_the_half_way_snapshot_and_the_one_of_its_end) {
  Run run;
  run.look(run.before(ScxGuest::kTimeout / 2 - 1));
  BOOST_TEST((run.captured.state() == FailureCapture::State::kIdle));
  run.wait_for(ScxGuest::kTimeout / 2 + 3);
  run.look(run.snapshot());
  BOOST_TEST((run.captured.state() == FailureCapture::State::kTookEarly));
  run.wait_for(ScxGuest::kTimeout);
  run.look(run.snapshot());
  run.look(run.exiting());
  BOOST_TEST((run.captured.state() == FailureCapture::State::kDone));
  const auto made = run.dump();
  const DualReport& main = dual(made);
  BOOST_REQUIRE(main.early);
  BOOST_TEST(main.early->capture->sequence.value() == 2u);
  BOOST_TEST(main.early_max_age_jiffies == ScxGuest::kTimeout / 2 + 3);
  BOOST_TEST(main.early_threshold_jiffies == ScxGuest::kTimeout / 2);
  BOOST_TEST(!main.early_skipped_reason);
  BOOST_TEST(has_stuck_task(*main.early));
  BOOST_TEST(main.late.capture->sequence.value() == 4u);
  BOOST_TEST(main.late.exit_info->dump == "its dump");
  // The last with the scheduler in charge is neither; why it ended is of the later one, and that is said.
  const Report& before = sibling(made, "before");
  BOOST_TEST(before.capture->sequence.value() == 3u);
  BOOST_TEST(before.scx_sched_state->exit_kind == 0u);
  BOOST_TEST(has_stuck_task(before));
  BOOST_TEST(before.exit_info->msg == "stuck[13] failed to run for 5.008s");
  BOOST_TEST(says(before, "of snapshot 4, after this one"));
  BOOST_TEST(made.files.size() == 2u);
  BOOST_TEST(made.stuck.find("longest wait: stuck[13]") == 0u, made.stuck);
}

BOOST_AUTO_TEST_CASE(an_error_at_once_has_no_early_snapshot_and_says_why) {
  Run run;
  run.look(run.before(0));
  run.look(run.exiting(1025, "scx_bpf_error", "as asked"));
  const auto made = run.dump();
  const DualReport& main = dual(made);
  BOOST_TEST(!main.early);
  BOOST_TEST(main.early_max_age_jiffies == 0u);
  BOOST_TEST(main.early_threshold_jiffies == 0u);
  BOOST_TEST(main.early_skipped_reason.value() == "no task was seen waiting before the end: all ages are 0");
  BOOST_TEST(main.late.exit_info->kind == 1025u);

  Run waited;
  waited.look(waited.before(100));
  waited.look(waited.exiting(1025, "scx_bpf_error", "as asked"));
  BOOST_TEST(dual(waited.dump()).early_skipped_reason.value() ==
             "the longest wait seen before the end was 100 jiffies, below the threshold of 625");

  Run unseen;
  unseen.guest.attach("mine");
  unseen.look(unseen.exiting(1025, "scx_bpf_error", "as asked"));
  BOOST_TEST(dual(unseen.dump()).early_skipped_reason.value() == "no snapshot before the end shows the scheduler in charge");
  BOOST_TEST(unseen.dump().files.size() == 1u);
}

// exit_kind is set before the kernel has written why: the next snapshot has its words.
BOOST_AUTO_TEST_CASE(words_that_come_after_the_end_are_added_to_it) {
  Run run;
  run.look(run.before(ScxGuest::kTimeout / 2));
  run.look(run.exiting(1026, "runnable task stall", ""));
  run.look(run.exiting());
  BOOST_TEST(run.watch.failure()->message == "stuck[13] failed to run for 5.008s");
  const auto made = run.dump();
  const DualReport& main = dual(made);
  BOOST_TEST(main.late.capture->sequence.value() == 2u);
  BOOST_TEST(main.late.exit_info->msg == "stuck[13] failed to run for 5.008s");
  BOOST_TEST(main.late.exit_info->dump == "its dump");
  BOOST_TEST(says(main.late, "of snapshot 3, after this one"));
  BOOST_TEST(made.files.size() == 1u, "early and before are one");
}

BOOST_AUTO_TEST_CASE(an_end_that_only_the_log_tells_is_of_the_kind_that_its_word_means) {
  for (const auto& [word, kind] : {std::pair("scx_bpf_error", 1025u), {"runnable task stall", 1026u}, {"runtime error", 1024u}}) {
    Run run;
    run.look(run.before(0));
    run.log.add(std::string("sched_ext: BPF scheduler \"mine\" disabled (") + word + ")");
    run.log.add("sched_ext: mine: and why");
    run.look(run.gone());
    const auto made = run.dump();
    const Report& late = dual(made).late;
    BOOST_REQUIRE(late.exit_info);
    BOOST_TEST(late.exit_info->kind == kind);
    BOOST_TEST(late.exit_info->reason == word);
    BOOST_TEST(late.exit_info->msg == "and why");
    BOOST_TEST(says(late, "from the kernel's log"));
  }
}

BOOST_AUTO_TEST_CASE(a_wait_beyond_the_watchdogs_own_look_is_its_own_late_snapshot) {
  Run run;
  run.look(run.before(ScxGuest::kTimeout * 3 / 2 + 1 + kHz));
  const auto made = run.dump();
  const DualReport& main = dual(made);
  BOOST_TEST(main.early.has_value());
  BOOST_TEST(has_stuck_task(main.late));
  BOOST_TEST(!main.late.exit_info);
  BOOST_TEST(made.files.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_long_wait_that_ended_well_is_forgotten_for_the_next) {
  Run run;
  run.look(run.before(ScxGuest::kTimeout / 2));
  run.wait_for(1);
  run.look(run.snapshot());
  run.wait_for(ScxGuest::kTimeout / 2 + 9);
  run.look(run.snapshot());
  BOOST_TEST(run.captured.early()->meta().sequence == 3u);
  BOOST_TEST(run.captured.early_age() == ScxGuest::kTimeout / 2 + 9);
}

BOOST_AUTO_TEST_CASE(an_early_snapshot_without_an_end_is_a_sibling_and_no_main_dump) {
  Run never;
  never.look(never.before(ScxGuest::kTimeout / 2));
  const auto held = never.dump();
  BOOST_TEST(held.files.size() == 1u);
  BOOST_TEST(has_stuck_task(sibling(held, "early-only-late-never-fired")));

  Run left;
  left.look(left.before(ScxGuest::kTimeout / 2));
  left.look(left.exiting(64, "unregistered from user space", ""));
  left.look(left.gone());
  const auto suppressed = left.dump();
  BOOST_TEST(suppressed.files.size() == 1u);
  BOOST_TEST(has_stuck_task(sibling(suppressed, "early-only-late-suppressed")));

  Run replaced;
  replaced.look(replaced.before(ScxGuest::kTimeout / 2));
  replaced.wait_for(0);
  replaced.guest.attach("another");
  replaced.look(replaced.snapshot());
  BOOST_TEST(has_stuck_task(sibling(replaced.dump(), "early-only-late-suppressed")));

  BOOST_TEST(Run().dump().files.empty());
}

// A probe of the guest knows before the kernel does, or of what the kernel does not.
BOOST_AUTO_TEST_CASE(a_latch_is_an_end_until_the_kernel_tells_of_one) {
  Run run;
  run.captured.latched(run.look(run.before(ScxGuest::kTimeout / 2)));
  BOOST_TEST((run.captured.state() == FailureCapture::State::kDone));
  run.look(run.snapshot());
  const auto alone = run.dump();
  BOOST_TEST(alone.files.size() == 1u, "what came after is none of it");
  BOOST_TEST(dual(alone).late.capture->sequence.value() == 1u);
  BOOST_TEST(dual(alone).early.has_value());
  BOOST_TEST(!dual(alone).late.exit_info);
  BOOST_TEST(has_stuck_task(dual(alone).late));
  run.look(run.exiting());
  const auto told = run.dump();
  BOOST_TEST(dual(told).late.capture->sequence.value() == 3u);
  BOOST_TEST(sibling(told, "before").capture->sequence.value() == 2u);
}

BOOST_AUTO_TEST_CASE(an_end_for_which_a_vcpu_did_not_park_is_degraded_and_keeps_the_early_one) {
  Run run;
  run.look(run.before(ScxGuest::kTimeout / 2));
  run.captured.degraded(Cause::kTick, without_a_vcpu());
  BOOST_TEST((run.captured.state() == FailureCapture::State::kTookEarly));
  run.captured.degraded(Cause::kLate, without_a_vcpu());  // of a hint that came to nothing
  BOOST_TEST((run.captured.state() == FailureCapture::State::kTookEarly));
  run.captured.degraded(Cause::kLate, without_a_vcpu(1026));
  BOOST_TEST((run.captured.state() == FailureCapture::State::kDone));
  const auto made = run.dump();
  BOOST_REQUIRE(made.files.size() == 2u);
  BOOST_TEST(made.files.front().name == "run.failure-dump.json");
  const auto& main = std::get<DegradedReport>(made.files.front().report);
  BOOST_TEST(main.reason == "vCPU rendezvous timed out before parked acknowledgement: 2001ms; 1/2 vCPUs parked; missing: vCPU 1");
  BOOST_REQUIRE(main.vcpu_regs.size() == 2u);
  BOOST_TEST(main.vcpu_regs[0]->instruction_pointer == 0xffffffff81000000u);
  BOOST_TEST(!main.vcpu_regs[1]);
  BOOST_TEST(main.elapsed_ms == 2001u);
  BOOST_TEST(main.watchpoint_hit);
  BOOST_TEST(main.exit_kind.value() == 1026u);
  BOOST_TEST(main.bss_latch_state == "not_triggered");
  BOOST_TEST(has_stuck_task(sibling(made, "early-pre-late-degraded")));

  // A later snapshot shows the end after all.
  run.wait_for(ScxGuest::kTimeout);
  run.look(run.exiting());
  const auto late = run.dump();
  BOOST_TEST(std::get<DegradedReport>(late.files.front().report).reason == main.reason);
  BOOST_TEST(sibling(late, "after-late-degraded").exit_info->kind == 1026u);
  BOOST_TEST(has_stuck_task(sibling(late, "early-pre-late-degraded")));
  // And one after it says nothing new.
  Run shown;
  shown.look(shown.before(1));
  shown.look(shown.exiting());
  shown.captured.degraded(Cause::kLate, without_a_vcpu(1026));
  BOOST_TEST(!dual(shown.dump()).early);

  Run early;
  early.captured.degraded(Cause::kEarly, without_a_vcpu());
  BOOST_TEST(early.captured.early_skipped_reason()->find("vCPU rendezvous timed out") == 0u);
  BOOST_TEST(early.dump().files.front().name == "run.snapshot.early-degraded.json");
  early.look(early.before(1));
  early.look(early.exiting());
  const auto both = early.dump();
  BOOST_TEST(dual(both).early_skipped_reason->find("vCPU rendezvous timed out") == 0u);
  BOOST_TEST(both.files.back().name == "run.snapshot.early-degraded.json");
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
  DumpSource source;
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
  run.look(run.before(ScxGuest::kTimeout / 2));
  run.look(run.exiting());
  for (const auto& range : run.guest.guest.memory.populated())
    for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes)
      run.guest.guest.memory.write(range.start + at, std::array<std::byte, kPageBytes>{});
  Run wiped;
  wiped.guest.attach("mine");
  wiped.watch = run.watch;
  wiped.captured.looked(std::make_shared<const SnapshotView>(run.snapshot()), run.watch);
  const auto made = wiped.dump();
  BOOST_TEST(dual(made).late.is_placeholder);
  BOOST_TEST(!dual(made).late.exit_info);
}

BOOST_AUTO_TEST_CASE(siblings_are_named_after_the_dump_and_their_tag) {
  BOOST_TEST(sibling_name("a/b c") == "run.snapshot.a_b_c.json");
  BOOST_TEST(sibling_name("plain-1.x") == "run.snapshot.plain-1.x.json");
  BOOST_TEST(sibling_name("\xc3\xa9") == "run.snapshot.__.json");
  BOOST_TEST(sibling_name("t", "x.failure-dump") == "x.snapshot.t.failure-dump");
  BOOST_TEST(sibling_name("t", "x") == "x.snapshot.t");
  BOOST_TEST(sibling_name("t", ".failure-dump.json") == "dump.snapshot.t.json");
}

BOOST_AUTO_TEST_SUITE_END()
