#include "freeze/frozen.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "base/file.hpp"
#include "base/may_block.hpp"
#include "engine/engine.hpp"
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

// What a process says that does `act` with the guest frozen, and which signal ends it (0: none). The guest is this process's.
struct Ending {
  int signal = 0;
  std::array<char, 256> said{};
};
Ending end_of(tiny::Guest& guest, const std::function<void()>& act) {
  Ending ending;
  std::array<int, 2> pipe{};
  BOOST_REQUIRE(::pipe(pipe.data()) == 0);
  {
    const Frozen scope(guest.vm(), 20s);
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGABRT, SIG_DFL);  // Boost's
      ::dup2(pipe[1], STDERR_FILENO);
      act();
      ::_exit(0);
    }
    ::close(pipe[1]);
    std::size_t filled = 0;
    for (ssize_t got = 1; got > 0 && filled + 1 < ending.said.size(); filled += static_cast<std::size_t>(std::max<ssize_t>(got, 0)))
      got = ::read(pipe[0], ending.said.data() + filled, ending.said.size() - 1 - filled);
    int status = 0;
    ::waitpid(child, &status, 0);
    ending.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  ::close(pipe[0]);
  return ending;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(frozen)

// Nobody may be waited for in the pause: a debug build ends the program that tries, and says what it tried.
BOOST_AUTO_TEST_CASE(a_debug_build_ends_a_program_that_waits_while_the_guest_is_frozen) {
#ifdef NDEBUG
  BOOST_TEST_MESSAGE("skipped: a release build does not check");
  return;
#endif
  const auto guest = running(2);
  if (!guest) return;
  auto loop = engine::loop::create();
  BOOST_REQUIRE(loop.has_value());
  engine::mailbox<int> mailbox(**loop);
  Checked<std::mutex> mutex;
  Checked<std::shared_mutex> shared;
  const std::string path = "/dev/null";
  struct Act {
    const char* said;
    std::function<void()> act;
  };
  const Act acts[] = {
      {"a lock was taken", [&] { mutex.lock(); }},
      {"a lock was taken", [&] { const std::shared_lock lock(shared); }},
      {"a file was read", [&] { std::ignore = read_text(path, 16); }},
      {"a file was written", [&] { std::ignore = write_fully(STDOUT_FILENO, {}, path); }},
      {"while the guest was frozen", [&] { mailbox.post(1); }},  // memory for the item, or the post itself
  };
  for (const Act& one : acts) {
    const Ending ending = end_of(*guest, one.act);
    BOOST_TEST(ending.signal == SIGABRT, one.said << ": signal " << ending.signal);
    BOOST_TEST(std::string(ending.said.data()).find(one.said) != std::string::npos, "said: " << ending.said.data());
  }
  if (NoAllocScope::enforced()) {
    const Ending ending = end_of(*guest, [] { delete new int; });
    BOOST_TEST(ending.signal == SIGABRT);
    BOOST_TEST(std::string(ending.said.data()).find("memory was allocated") != std::string::npos, "said: " << ending.said.data());
  }
  // And what the pause itself does is no such thing, nor is any of it afterwards.
  BOOST_TEST(end_of(*guest, [] {}).signal == 0);
  BOOST_TEST(mailbox.post(1));
  mutex.lock();
  mutex.unlock();
  BOOST_TEST(guest->wait_for_progress(TINY_COUNT));
}

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

// Within a limit of nothing the vCPUs may stop or not; one whose thread is inside a device does not.
BOOST_AUTO_TEST_CASE(a_limit_of_nothing_is_incomplete_and_thaws_all_the_same) {
  const auto guest = running(2);
  if (!guest) return;
  for (int round = 0; round < 100; ++round) {
    const bool stuck = round % 2 == 0;
    if (stuck) {
      guest->close_latch();
      guest->set_mode(1, TINY_LATCH);
      BOOST_REQUIRE(guest->wait([&] { return guest->latched(); }));
    }
    bool complete = false, captured = false;
    {
      Frozen scope(guest->vm(), 0s);
      complete = scope.complete();
      captured = scope.await_states();
    }
    if (stuck) {
      BOOST_TEST(!complete);
      BOOST_TEST(!captured);
      const std::uint64_t counted = guest->counter(0);
      BOOST_REQUIRE(guest->wait([&] { return guest->counter(0) != counted; }));
      guest->set_mode(1, TINY_COUNT);
      guest->open_latch();
    }
    BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
    {
      const Frozen scope(guest->vm(), 20s);
      complete = scope.complete();
    }
    BOOST_TEST(complete);
  }
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
