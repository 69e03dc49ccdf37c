#include "walkers/budget.hpp"

#include <boost/test/unit_test.hpp>

using floe::walkers::WalkBudget;

BOOST_AUTO_TEST_SUITE(budget)

BOOST_AUTO_TEST_CASE(steps_run_out) {
  WalkBudget budget(3);
  for (int i = 0; i < 3; ++i) BOOST_TEST(budget.step());
  BOOST_TEST(!budget.step());
  BOOST_TEST(!budget.step());
  BOOST_TEST(budget.taken() == 3u);
  BOOST_TEST(budget.reason() == "step limit reached");
}

BOOST_AUTO_TEST_CASE(a_budget_that_is_not_used_up_gives_no_reason) {
  WalkBudget budget(2);
  BOOST_TEST(budget.step());
  BOOST_TEST(!budget.exhausted());
  BOOST_TEST(budget.reason().empty());
}

BOOST_AUTO_TEST_CASE(a_walk_of_just_the_allowed_length_is_whole) {
  WalkBudget budget(1);
  BOOST_TEST(budget.step());
  BOOST_TEST(budget.reason().empty());
}

BOOST_AUTO_TEST_CASE(a_deadline_that_has_passed_allows_nothing) {
  WalkBudget budget(100, WalkBudget::Clock::now());
  BOOST_TEST(!budget.step());
  BOOST_TEST(budget.reason() == "deadline reached");
}

BOOST_AUTO_TEST_CASE(a_deadline_that_passes_ends_the_walk_within_64_steps) {
  WalkBudget budget(~0ull, WalkBudget::Clock::now() + std::chrono::microseconds(50));
  while (budget.step()) continue;  // ends, or the test times out
  BOOST_TEST(budget.reason() == "deadline reached");
}

BOOST_AUTO_TEST_SUITE_END()
