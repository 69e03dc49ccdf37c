#include "cli/periodic_run.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::cli;
using namespace std::chrono_literals;
using Outcome = freeze::PeriodicCaptures::Outcome;
using Scheduler = freeze::WordWatch::Scheduler;
using Numbers = std::vector<std::uint64_t>;

namespace {

// A run of 10 s on a clock of its own: three captures are due at 3, 5 and 7 s.
struct Run {
  explicit Run(PeriodicRun::Setting setting)
      : periodic(setting, {.readable = [this] { return now() >= readable_from; },
                           .scheduler = [this] { return now() >= attached_from ? Scheduler::bound : before; },
                           .stood_still = [this] { return stood_still; },
                           .capture = [this](std::size_t index, PeriodicMoment when) { capture(index, when); }}) {}

  std::chrono::nanoseconds now() const { return loop->now() - began; }

  void capture(std::size_t index, PeriodicMoment when) {
    BOOST_TEST(index == due.size());
    due.push_back(when.boundary_offset_ms);
    elapsed.push_back(when.elapsed_ms);
    stood_still += pause;
    periodic.done(index < outcomes.size() ? outcomes[index] : Outcome::captured);
  }

  void go() {
    began = loop->now();
    const auto run = [](PeriodicRun& all) -> engine::task<> {
      auto part = all.run();
      auto ended = co_await engine::with_timeout(std::move(part), 10s);
      co_return std::move(ended);
    };
    const auto ended = loop->run(run(periodic));
    over = ended.has_value();
    report = RunReport();
    periodic.report(report);
  }

  engine::manual_clock clock;
  std::unique_ptr<engine::loop> loop = engine::testing::make_loop(&clock);
  engine::time_point began;
  std::chrono::nanoseconds readable_from{}, attached_from{}, stood_still{}, pause{};
  Scheduler before = Scheduler::none;
  std::vector<Outcome> outcomes;
  Numbers due, elapsed;
  bool over = false;
  RunReport report;
  PeriodicRun periodic;
};

constexpr PeriodicRun::Setting kThree{.count = 3, .workload = 10s, .needs_scheduler = true};

}  // namespace

BOOST_AUTO_TEST_SUITE(periodic_run)

BOOST_AUTO_TEST_CASE(each_is_made_when_it_is_due) {
  Run run(kThree);
  run.go();
  BOOST_TEST(run.over);
  BOOST_TEST(run.due == (Numbers{3000, 5000, 7000}), boost::test_tools::per_element());
  BOOST_TEST(run.elapsed == run.due, boost::test_tools::per_element());
  BOOST_TEST(run.report.periodic->captured == 3u);
  BOOST_TEST(run.report.periodic->reason == "");
}

BOOST_AUTO_TEST_CASE(without_any_the_report_has_none) {
  RunReport report;
  Run({.count = 0, .workload = 10s, .needs_scheduler = false}).periodic.report(report);
  BOOST_TEST(!report.periodic.has_value());
}

BOOST_AUTO_TEST_CASE(a_kernel_that_can_be_read_later_shrinks_the_window_from_the_front) {
  Run run(kThree);
  run.readable_from = 5s;
  run.go();
  BOOST_TEST(run.due == (Numbers{6500, 7500, 8500}), boost::test_tools::per_element());

  Run never(kThree);
  never.readable_from = 1h;
  never.go();
  BOOST_TEST(never.due.empty());
  BOOST_TEST(!never.over);
  BOOST_TEST(never.report.periodic->reason.find("could not be read") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_due_waits_for_a_scheduler_and_is_not_skipped) {
  Run run(kThree);
  run.attached_from = 6s;
  run.go();
  BOOST_TEST(run.due == (Numbers{3000, 5000, 7000}), boost::test_tools::per_element());
  BOOST_TEST(run.elapsed == (Numbers{6000, 6020, 7000}), boost::test_tools::per_element());

  Run alone({.count = 3, .workload = 10s, .needs_scheduler = false});
  alone.attached_from = 1h;
  alone.go();
  BOOST_TEST(alone.elapsed == (Numbers{3000, 5000, 7000}), boost::test_tools::per_element());

  Run never(kThree);
  never.attached_from = 1h;
  never.go();
  BOOST_TEST(never.due.empty());
  BOOST_TEST(never.report.periodic->reason.find("no scheduler was in charge") == 0u);
}

BOOST_AUTO_TEST_CASE(one_that_has_just_taken_over_is_waited_for_also_where_none_is_needed) {
  Run run({.count = 3, .workload = 10s, .needs_scheduler = false});
  run.before = Scheduler::changing;
  run.attached_from = 4s;
  run.go();
  BOOST_TEST(run.elapsed == (Numbers{4000, 5000, 7000}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(time_that_the_guest_stood_still_is_none_of_the_workloads) {
  Run run(kThree);
  run.pause = 200ms;
  run.go();
  BOOST_TEST(run.elapsed == (Numbers{3000, 5000, 7000}), boost::test_tools::per_element());
  BOOST_TEST((run.now() == 7400ms));
}

BOOST_AUTO_TEST_CASE(two_degraded_in_a_row_end_them) {
  Run run(kThree);
  run.outcomes = {Outcome::degraded, Outcome::degraded};
  run.go();
  BOOST_TEST(run.over);
  BOOST_TEST(run.due.size() == 2u);
  BOOST_TEST(run.report.periodic->degraded == 2u);
  BOOST_TEST(run.report.periodic->reason.find("two captures in a row") == 0u);

  Run between(kThree);
  between.outcomes = {Outcome::degraded, Outcome::captured, Outcome::degraded};
  between.go();
  BOOST_TEST(between.due.size() == 3u);
  BOOST_TEST(between.report.periodic->degraded == 2u);
  BOOST_TEST(between.report.periodic->reason == "");
}

BOOST_AUTO_TEST_SUITE_END()
