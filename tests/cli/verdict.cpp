#include "cli/exit.hpp"

#include <boost/test/unit_test.hpp>
#include <csignal>

using namespace floe::cli;

BOOST_AUTO_TEST_SUITE(verdict)

BOOST_AUTO_TEST_CASE(of_two_verdicts_the_documented_one_counts) {
  const Exit order[] = {Exit::kBug,       Exit::kHostCannot, Exit::kUsage,       Exit::kNoHello, Exit::kGuestPanic,  Exit::kStall,
                        Exit::kScheduler, Exit::kDeadline,   Exit::kCheckFailed, Exit::kSkipped, Exit::kInterrupted, Exit::kPass};
  for (std::size_t i = 0; i < std::size(order); ++i)
    for (std::size_t j = i + 1; j < std::size(order); ++j) {
      BOOST_TEST((worse({order[i], "first"}, {order[j], "second"}).code == order[i]));
      BOOST_TEST((worse({order[j], "second"}, {order[i], "first"}).code == order[i]));
    }
}

BOOST_AUTO_TEST_CASE(of_two_equal_ones_the_first_reason_stays) {
  BOOST_TEST(worse({Exit::kGuestPanic, "the cause"}, {Exit::kGuestPanic, "a consequence"}).reason == "the cause");
}

BOOST_AUTO_TEST_CASE(each_signal_has_its_code_and_its_name) {
  BOOST_TEST((stopped_by(SIGINT).code == Exit::kInterrupted));
  BOOST_TEST((stopped_by(SIGTERM).code == Exit::kTerminated));
  BOOST_TEST(stopped_by(SIGTERM).reason == "stopped by SIGTERM");
}

BOOST_AUTO_TEST_SUITE_END()
