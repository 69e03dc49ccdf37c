#include "freeze/frozen.hpp"

#include <boost/test/unit_test.hpp>
#include <stdexcept>

#include "tests/tiny/guest.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<tiny::Guest> running(unsigned cpus) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return nullptr;
  }
  auto guest = tiny::Guest::create({.cpus = cpus});
  BOOST_REQUIRE_MESSAGE(guest.has_value(), (guest ? "" : guest.error().message));
  (*guest)->set_mode(TINY_COUNT);
  (*guest)->start();
  BOOST_REQUIRE((*guest)->wait_for_progress(TINY_COUNT));
  return std::move(*guest);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(frozen)

BOOST_AUTO_TEST_CASE(inside_nothing_runs_and_nothing_may_allocate) {
  const auto guest = running(2);
  if (!guest) return;
  for (int round = 0; round < 20; ++round) {
    bool complete = false, guarded = false, stood = true;
    {
      const Frozen scope(guest->vm(), 20s);
      complete = scope.complete();
      guarded = NoAllocScope::active();
      const std::uint64_t first = guest->counter(0), second = guest->counter(1);
      const auto until = Frozen::Clock::now() + 1ms;
      while (Frozen::Clock::now() < until) stood = stood && guest->counter(0) == first && guest->counter(1) == second;
      stood = stood && guest->mirror(0) <= first && guest->mirror(0) + 1 >= first;
    }
    BOOST_TEST(complete);
    BOOST_TEST(guarded);
    BOOST_TEST(stood);
    BOOST_TEST(!NoAllocScope::active());
    BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
  }
}

BOOST_AUTO_TEST_CASE(the_times_follow_each_other_and_thawing_twice_is_once) {
  const auto guest = running(1);
  if (!guest) return;
  Frozen scope(guest->vm(), 20s);
  const bool complete = scope.await_states();
  scope.thaw();
  const auto thawed = scope.thawed_at();
  scope.thaw();
  BOOST_TEST(complete);
  BOOST_TEST((scope.thawed_at() == thawed));
  BOOST_TEST((scope.kicked_at() < scope.stopped_at()));
  BOOST_TEST((scope.stopped_at() <= scope.thaw_began_at()));
  BOOST_TEST((scope.thaw_began_at() <= scope.thawed_at()));
  const vmm::Vcpu& vcpu = guest->vm().vcpu(0);
  BOOST_TEST((scope.kicked_at() <= vcpu.stopped_at() && vcpu.stopped_at() <= scope.stopped_at()));
  BOOST_TEST((vcpu.stopped_at() <= vcpu.parked_at() && vcpu.parked_at() <= scope.thaw_began_at()));
  BOOST_TEST(!NoAllocScope::active());
  BOOST_TEST(guest->wait_for_progress(TINY_COUNT));
  BOOST_TEST((vcpu.resumed_at() >= scope.thaw_began_at()));
}

BOOST_AUTO_TEST_CASE(a_limit_of_nothing_is_incomplete_and_thaws_all_the_same) {
  const auto guest = running(2);
  if (!guest) return;
  unsigned incomplete = 0;
  for (int round = 0; round < 100; ++round) {
    {
      const Frozen scope(guest->vm(), 0s);
      incomplete += !scope.complete();
    }
    BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
    bool complete = false;
    {
      const Frozen scope(guest->vm(), 20s);
      complete = scope.complete();
    }
    BOOST_TEST(complete);
  }
  BOOST_TEST(incomplete == 100u);
}

BOOST_AUTO_TEST_CASE(leaving_by_an_exception_thaws) {
  const auto guest = running(1);
  if (!guest) return;
  const std::runtime_error made_before("somewhere inside");
  try {
    const Frozen scope(guest->vm(), 20s);
    // Where it is thrown it must not be allocated: the C++ runtime does so by malloc, not by operator new.
    throw made_before;
  } catch (const std::runtime_error&) {
  }
  BOOST_TEST(!NoAllocScope::active());
  BOOST_TEST(guest->wait_for_progress(TINY_COUNT));
}

BOOST_AUTO_TEST_SUITE_END()
