#include "freeze/scheduler_watch.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/printk_ring.hpp"
#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::walkers;
using synthetic::PrintkRing;
using synthetic::ScxGuest;
using synthetic::ScxSpec;

namespace {

// One look after the other at the guest as it is then.
struct Looks {
  SchedulerWatch watch;
  std::optional<Kernel> kernel;
  std::uint64_t sequence = 0;

  bool look(const ScxGuest& guest) {
    OpenOptions options;
    if (kernel) options.previous = &*kernel;
    auto opened = Kernel::open(guest.guest.memory, options);
    BOOST_REQUIRE_MESSAGE(opened, opened.error().message);
    kernel.emplace(std::move(*opened));
    return watch.look(*kernel, ++sequence, WalkBudget(10'000));
  }
};

struct LoggingGuest : ScxGuest {
  LoggingGuest() : ScxGuest({.more = PrintkRing::needs()}) {}
  PrintkRing log{guest};

  void disabled(const std::string& name, const std::string& reason, const std::string& message = "") {
    log.add("sched_ext: BPF scheduler \"" + name + "\" disabled (" + reason + ")");
    if (!message.empty()) log.add("sched_ext: " + name + ": " + message);
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(scheduler_watch)

BOOST_AUTO_TEST_CASE(a_scheduler_that_is_well_fails_nothing) {
  ScxGuest guest;
  Looks looks;
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(!looks.watch.seen());
  guest.attach("mine");
  guest.make_runnable(guest.add_task(11, "task"), 0, ScxGuest::kTimeout);
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(looks.watch.seen());
  BOOST_TEST(looks.watch.attached());
  BOOST_TEST(looks.watch.last_attached().value() == 2u);
  BOOST_TEST(!looks.watch.failure());
}

BOOST_AUTO_TEST_CASE(a_task_that_waited_longer_than_the_watchdog_allows_is_a_stall) {
  for (const auto generation : {ScxSpec::Generation::variables, ScxSpec::Generation::sched, ScxSpec::Generation::tree}) {
    ScxGuest guest({.generation = generation});
    guest.attach("mine");
    const Kva task = guest.add_task(107, "stallme");
    guest.make_runnable(task, 0, ScxGuest::kTimeout * 3 / 2 + 375);
    guest.enqueue(task, guest.add_user_dsq(0x5157, 0));
    Looks looks;
    BOOST_TEST(looks.look(guest));
    BOOST_REQUIRE(looks.watch.failure());
    BOOST_TEST(looks.watch.failure()->stall);
    BOOST_TEST(looks.watch.failure()->before.value() == 1u);
    BOOST_TEST(looks.watch.failure()->shown_by == 1u);
    BOOST_TEST(looks.watch.failure()->describe() ==
               "the scheduler mine stalled: stallme[107] has been runnable for 9.0 s on DSQ 0x5157, its watchdog allows 5.0 s");
  }
}

// The kernel's watchdog looks every half timeout: it has the first word.
BOOST_AUTO_TEST_CASE(a_wait_that_the_watchdog_may_not_have_seen_yet_is_no_failure) {
  ScxGuest guest;
  guest.attach("mine");
  const Kva task = guest.add_task(107, "stallme");
  guest.make_runnable(task, 0, ScxGuest::kTimeout * 3 / 2 + 250);
  Looks looks;
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(looks.watch.oldest()->age_jiffies == ScxGuest::kTimeout * 3 / 2 + 250);
  BOOST_TEST(looks.watch.watchdog_timeout().value() == ScxGuest::kTimeout);
  guest.waited(task, ScxGuest::kTimeout * 3 / 2 + 251);
  BOOST_TEST(looks.look(guest));
}

BOOST_AUTO_TEST_CASE(the_exit_info_is_quoted_and_the_snapshot_before_is_known) {
  ScxGuest guest;
  guest.attach("mine");
  Looks looks;
  looks.look(guest);
  looks.look(guest);
  guest.exit(1026, "runnable task stall", "stallme[107] failed to run for 5.008s", "");
  BOOST_TEST(looks.look(guest));
  const auto& failure = *looks.watch.failure();
  BOOST_TEST(failure.stall);
  BOOST_TEST(failure.before.value() == 2u);
  BOOST_TEST(failure.shown_by == 3u);
  BOOST_TEST(failure.describe() == "the scheduler mine stalled: stallme[107] failed to run for 5.008s");
  guest.detach();
  BOOST_TEST(!looks.look(guest));  // told once, and it stays
  BOOST_TEST(looks.watch.failure()->shown_by == 3u);
}

BOOST_AUTO_TEST_CASE(other_errors_are_no_stalls) {
  ScxGuest guest;
  guest.attach("mine");
  guest.exit(1025, "scx_bpf_error", "as asked", "");
  Looks looks;
  BOOST_TEST(looks.look(guest));
  BOOST_TEST(!looks.watch.failure()->stall);
  BOOST_TEST(looks.watch.failure()->describe() == "the scheduler mine was thrown out (scx_bpf_error): as asked");
}

BOOST_AUTO_TEST_CASE(an_exit_kind_without_exit_info_is_enough) {
  ScxGuest guest;
  guest.attach("mine");
  guest.exit_kind(1024);
  Looks looks;
  BOOST_TEST(looks.look(guest));
  BOOST_TEST(looks.watch.failure()->describe() == "the scheduler mine was thrown out (runtime error)");
}

BOOST_AUTO_TEST_CASE(an_orderly_end_fails_nothing) {
  ScxGuest guest;
  guest.attach("mine");
  Looks looks;
  looks.look(guest);
  guest.exit(64, "unregistered from user space", "", "");
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(!looks.watch.attached());
  guest.detach();
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(!looks.watch.failure());
}

// This guest has no kernel log that could tell why.
BOOST_AUTO_TEST_CASE(one_that_is_gone_without_a_word_fails_nothing) {
  ScxGuest guest;
  guest.attach("mine");
  Looks looks;
  looks.look(guest);
  guest.detach();
  BOOST_TEST(!looks.look(guest));
  BOOST_TEST(!looks.watch.failure());
  BOOST_TEST(looks.watch.seen());
}

BOOST_AUTO_TEST_CASE(one_that_attached_and_failed_between_two_looks_is_told_by_the_log) {
  LoggingGuest guest;
  Looks looks;
  guest.log.add("Linux version 7.2");
  BOOST_TEST(!looks.look(guest));
  guest.disabled("mine", "runnable task stall", "stallme[107] failed to run for 5.008s");
  BOOST_TEST(looks.look(guest));
  BOOST_REQUIRE(looks.watch.failure());
  const auto& failure = *looks.watch.failure();
  BOOST_TEST(failure.stall);
  BOOST_TEST(!failure.before);
  BOOST_TEST(failure.shown_by == 2u);
  BOOST_TEST(failure.describe() == "the scheduler mine stalled: stallme[107] failed to run for 5.008s");
  BOOST_TEST(!looks.watch.seen());
}

BOOST_AUTO_TEST_CASE(an_orderly_end_in_the_log_fails_nothing_and_hides_no_failure) {
  LoggingGuest guest;
  Looks looks;
  guest.disabled("first", "unregistered from user space");
  BOOST_TEST(!looks.look(guest));
  guest.disabled("second", "scx_bpf_error", "as asked");
  guest.disabled("third", "unregistered from user space");
  BOOST_TEST(looks.look(guest));
  BOOST_TEST(!looks.watch.failure()->stall);
  BOOST_TEST(looks.watch.failure()->describe() == "the scheduler second was thrown out (scx_bpf_error): as asked");
}

BOOST_AUTO_TEST_CASE(one_whose_place_another_took_between_two_looks_has_failed_all_the_same) {
  LoggingGuest guest;
  guest.attach("first");
  Looks looks;
  looks.look(guest);
  guest.disabled("first", "runnable task stall");
  guest.detach();
  guest.attach("second");
  BOOST_TEST(looks.look(guest));
  BOOST_TEST(looks.watch.failure()->name == "first");
  BOOST_TEST(looks.watch.failure()->before.value() == 1u);
}

// The snapshot before shows the DSQs of the one that left in good order.
BOOST_AUTO_TEST_CASE(a_snapshot_of_another_scheduler_is_not_the_one_before) {
  LoggingGuest guest;
  guest.attach("first");
  Looks looks;
  looks.look(guest);
  guest.disabled("first", "unregistered from user space");
  guest.disabled("second", "runnable task stall");
  guest.detach();
  BOOST_TEST(looks.look(guest));
  BOOST_TEST(looks.watch.failure()->name == "second");
  BOOST_TEST(!looks.watch.failure()->before);
}

BOOST_AUTO_TEST_CASE(a_record_that_was_being_written_is_read_at_the_next_look) {
  LoggingGuest guest;
  Looks looks;
  const auto id = guest.log.add("sched_ext: BPF scheduler \"mine\" disabled (runnable task stall)", PrintkRing::reserved);
  BOOST_TEST(!looks.look(guest));
  guest.log.set_state(id, PrintkRing::finalized);
  BOOST_TEST(looks.look(guest));
}

BOOST_AUTO_TEST_CASE(what_a_process_wrote_into_the_log_counts_for_nothing) {
  LoggingGuest guest;
  Looks looks;
  const auto id = guest.log.add("sched_ext: BPF scheduler \"mine\" disabled (runnable task stall)");
  guest.guest.put(guest.log.info(id) + guest.guest.offset("printk_info.facility"), std::uint8_t{1});
  BOOST_TEST(!looks.look(guest));
}

BOOST_AUTO_TEST_CASE(the_kernels_log_tells_how_a_scheduler_ended) {
  LoggedEnds ends;
  ends.line("sched_ext: BPF scheduler \"first\" disabled (unregistered from user space)");
  BOOST_TEST(!ends.last()->is_error());
  ends.line("sched_ext: BPF scheduler \"floe_stall\" enabled");
  ends.line("sched_ext: BPF scheduler \"floe_stall\" disabled (runnable task stall)");
  ends.line("sched_ext: floe_stall: stallme[107] failed to run for 5.008s");
  ends.line("   scx_watchdog_workfn+0x18e/0x240");
  ends.line("sched_ext: floe_stall: not the message any more");
  BOOST_REQUIRE(ends.last());
  BOOST_TEST(ends.last()->name == "floe_stall");
  BOOST_TEST(ends.last()->reason == "runnable task stall");
  BOOST_TEST(ends.last()->message == "stallme[107] failed to run for 5.008s");
  BOOST_TEST(ends.last()->is_error());
  BOOST_TEST(ends.last()->is_stall());
}

BOOST_AUTO_TEST_CASE(lines_that_only_look_like_it_are_passed_over) {
  LoggedEnds ends;
  for (const char* line : {"", "sched_ext: ", "sched_ext: BPF scheduler \"", "sched_ext: BPF scheduler \"a\" disabled (", "sched_ext: x: y",
                           "sched_ext: )BPF scheduler \"a\" disabled (b"})
    ends.line(line);
  BOOST_TEST(!ends.last());
}

BOOST_AUTO_TEST_SUITE_END()
