#include "engine/outcome.hpp"

#include <boost/test/unit_test.hpp>
#include <memory>
#include <string>

#include "base/fd.hpp"

using namespace floe;
using namespace floe::engine;

BOOST_AUTO_TEST_SUITE(outcome)

template <class T>
using result_of = floe::engine::outcome<T>;

BOOST_AUTO_TEST_CASE(three_states) {
  const result_of<int> value = 7;
  BOOST_TEST((value.has_value() && !value.is_error() && !value.is_cancelled()));
  BOOST_TEST(*value == 7);
  const result_of<int> error = Error(5, "broken");
  BOOST_TEST((!error.has_value() && error.is_error() && !error.is_cancelled()));
  BOOST_TEST(error.error().message == "broken");
  BOOST_TEST(error.error().code == 5);
  const result_of<int> stopped = cancelled;
  BOOST_TEST((!stopped.has_value() && !stopped.is_error() && stopped.is_cancelled()));
}

BOOST_AUTO_TEST_CASE(void_is_ok_by_default_and_others_are_cancelled) {
  BOOST_TEST(result_of<void>().has_value());
  BOOST_TEST(result_of<void>(ok).has_value());
  BOOST_TEST(result_of<int>().is_cancelled());
}

BOOST_AUTO_TEST_CASE(from_results_and_back) {
  result_of<std::string> from_value = Result<std::string>("text");
  BOOST_TEST(*from_value == "text");
  result_of<std::string> from_error = Result<std::string>(fail("no"));
  BOOST_TEST(from_error.error().message == "no");
  BOOST_TEST(*std::move(from_value).to_result() == "text");
  BOOST_TEST(result_of<int>(cancelled).to_result().error().code == ECANCELED);
  BOOST_TEST(result_of<void>(ok).to_result().has_value());
}

BOOST_AUTO_TEST_CASE(failure_moves_or_copies_to_another_type) {
  result_of<int> error = fail("first");
  const result_of<std::string> copied = static_cast<const result_of<int>&>(error).failure();
  BOOST_TEST(copied.error().message == "first");
  BOOST_TEST(error.error().message == "first");
  const result_of<void> moved = std::move(error).failure();
  BOOST_TEST(moved.error().message == "first");
  const result_of<int> stopped = cancelled;
  BOOST_TEST(result_of<void>(stopped.failure()).is_cancelled());
}

BOOST_AUTO_TEST_CASE(values_live_once) {
  const auto counted = std::make_shared<int>(1);
  {
    result_of<std::shared_ptr<int>> first = counted;
    result_of<std::shared_ptr<int>> second = std::move(first);
    BOOST_TEST(counted.use_count() == 2);
    second = cancelled;
    BOOST_TEST(counted.use_count() == 1);
    second.put(counted);
    BOOST_TEST(counted.use_count() == 2);
    second = Error("gone");
    BOOST_TEST(counted.use_count() == 1);
  }
  result_of<UniqueFd> owned = UniqueFd(-1);
  BOOST_TEST(owned->get() == -1);
}

BOOST_AUTO_TEST_CASE(within_prepends_to_errors_only) {
  BOOST_TEST(result_of<int>(fail("b")).within("a").error().message == "a: b");
  BOOST_TEST(*result_of<int>(1).within("a") == 1);
  BOOST_TEST(result_of<int>(cancelled).within("a").is_cancelled());
}

BOOST_AUTO_TEST_SUITE_END()
