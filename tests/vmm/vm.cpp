#include "vmm/vm.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "tests/tiny/guest.hpp"

using namespace floe;
using namespace floe::vmm;
using namespace std::chrono_literals;

namespace {

bool skip() {
  if (tiny::unavailable()) BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
  return tiny::unavailable().has_value();
}

std::unique_ptr<tiny::Guest> started(unsigned cpus, tiny_mode mode) {
  auto guest = tiny::Guest::create({.cpus = cpus});
  BOOST_REQUIRE_MESSAGE(guest.has_value(), (guest ? "" : guest.error().message));
  (*guest)->set_mode(mode);
  (*guest)->start();
  BOOST_REQUIRE((*guest)->wait_for_progress(mode));
  return std::move(*guest);
}

bool freeze(tiny::Guest& guest) {
  return guest.vm().freeze(Clock::now() + 20s);
}

void check_alive(const tiny::Guest& guest) {
  BOOST_TEST(guest.faults() == 0u);
  for (const auto& event : guest.events()) BOOST_TEST_ERROR("vCPU " << event.vcpu << ": " << event.detail);
}

// What every vCPU has done so far; does not change while all are parked.
std::vector<std::uint64_t> all_progress(const tiny::Guest& guest, tiny_mode mode, unsigned cpus) {
  std::vector<std::uint64_t> all;
  for (unsigned cpu = 0; cpu < cpus; ++cpu) all.push_back(guest.progress(cpu, mode));
  return all;
}

struct Case {
  unsigned cpus;
  tiny_mode mode;
  const char* name;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.cpus << " vCPUs, " << c.name;
}

constexpr Case kCases[] = {
    {1, TINY_COUNT, "spinning"}, {2, TINY_COUNT, "spinning"}, {4, TINY_COUNT, "spinning"},
    {1, TINY_HALT, "halted"},    {2, TINY_HALT, "halted"},    {4, TINY_HALT, "halted"},
    {1, TINY_OUT, "exiting"},    {2, TINY_OUT, "exiting"},    {4, TINY_OUT, "exiting"},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(vm)

BOOST_DATA_TEST_CASE(all_vcpus_park_stand_still_and_run_again, kCases, what) {
  if (skip()) return;
  const auto guest = started(what.cpus, what.mode);
  for (int round = 0; round < 20; ++round) {
    BOOST_REQUIRE(freeze(*guest));
    const auto stood = all_progress(*guest, what.mode, what.cpus);
    for (unsigned cpu = 0; cpu < what.cpus; ++cpu) {
      const VcpuState& state = guest->vm().vcpu(cpu).state();
      BOOST_TEST(guest->in_payload(state.regs.rip));
      BOOST_TEST(state.sregs.cr3 == std::uint64_t{TINY_PAGE_TABLES});
    }
    BOOST_TEST(all_progress(*guest, what.mode, what.cpus) == stood);
    guest->vm().thaw();
    BOOST_REQUIRE(guest->wait_for_progress(what.mode));
  }
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(two_thousand_freezes_in_a_row_lose_no_kick) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  guest->vm().set_rekick(1min);  // so that none papers over a lost kick
  guest->set_mode(1, TINY_OUT);
  for (int round = 0; round < 2000; ++round) {
    BOOST_REQUIRE(freeze(*guest));
    guest->vm().thaw();
  }
  for (unsigned cpu = 0; cpu < 2; ++cpu) BOOST_TEST(guest->vm().vcpu(cpu).counters().parks.load() == 2000u);
  BOOST_TEST(guest->vm().rekicks() == 0u);
  const std::uint64_t counted = guest->counter(0), written = guest->progress(1, TINY_OUT);
  BOOST_TEST(guest->wait([&] { return guest->counter(0) != counted && guest->progress(1, TINY_OUT) != written; }));
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(halted_vcpus_are_frozen_a_thousand_times) {
  if (skip()) return;
  const auto guest = started(2, TINY_HALT);
  for (int round = 0; round < 1000; ++round) {
    BOOST_REQUIRE(freeze(*guest));
    guest->vm().thaw();
  }
  BOOST_TEST(guest->wait_for_progress(TINY_HALT));
  check_alive(*guest);
}

// By the clock that KVM keeps for it. Read by the host, which may be held up anywhere: only what is true however long that takes.
BOOST_AUTO_TEST_CASE(a_long_pause_is_not_on_the_guests_clock_and_a_short_one_is) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  const auto clock = [&] {
    kvm_clock_data data{};
    BOOST_REQUIRE(::ioctl(guest->vm().fd(), KVM_GET_CLOCK, &data) == 0);
    return std::chrono::nanoseconds(data.clock);
  };
  BOOST_REQUIRE(freeze(*guest));
  const auto before = clock();
  auto host = Clock::now();
  std::this_thread::sleep_for(10ms);
  guest->vm().thaw();
  const auto lived = Clock::now() - host;
  const auto passed = clock() - before;
  if (lived < kLongPause) BOOST_TEST(passed.count() >= lived.count());

  host = Clock::now();
  const auto stood = clock();
  BOOST_REQUIRE(freeze(*guest));
  std::this_thread::sleep_for(kLongPause + 200ms);
  guest->vm().thaw();
  const auto after = clock();
  BOOST_TEST(after.count() >= stood.count());
  BOOST_TEST((after - stood).count() <= (Clock::now() - host - kLongPause - 200ms).count());
  check_alive(*guest);
}

// A vCPU that still ran has seen the time pass.
BOOST_AUTO_TEST_CASE(a_pause_that_not_every_vcpu_came_to_is_on_the_guests_clock) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  guest->close_latch();
  guest->set_mode(1, TINY_LATCH);
  BOOST_REQUIRE(guest->wait([&] { return guest->latched(); }));
  kvm_clock_data before{}, after{};
  BOOST_REQUIRE(::ioctl(guest->vm().fd(), KVM_GET_CLOCK, &before) == 0);
  BOOST_TEST(!guest->vm().freeze(Clock::now() + kLongPause + 50ms));
  guest->vm().thaw();
  BOOST_REQUIRE(::ioctl(guest->vm().fd(), KVM_GET_CLOCK, &after) == 0);
  BOOST_TEST(after.clock - before.clock >= static_cast<std::uint64_t>(std::chrono::nanoseconds(kLongPause + 50ms).count()));
  guest->open_latch();
  check_alive(*guest);
}

// The time limit may be over before anybody parks, and vCPUs may then park for a freeze that was given up.
BOOST_AUTO_TEST_CASE(a_freeze_that_ran_out_of_time_is_thawed_and_the_next_one_works) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  for (int round = 0; round < 300; ++round) {
    guest->vm().freeze(Clock::now() + std::chrono::microseconds(round % 3 * 20));
    guest->vm().thaw();
    if (round % 4 != 0) continue;
    BOOST_REQUIRE(freeze(*guest));
    const auto stood = all_progress(*guest, TINY_COUNT, 2);
    std::this_thread::yield();
    BOOST_TEST(all_progress(*guest, TINY_COUNT, 2) == stood);
    guest->vm().thaw();
  }
  BOOST_TEST(guest->wait_for_progress(TINY_COUNT));
  check_alive(*guest);
}

// A vCPU thread inside a device cannot be kicked. The others park; when it comes back it parks for nobody, or for the next freeze.
BOOST_AUTO_TEST_CASE(a_vcpu_stuck_in_a_device_fails_the_freeze_and_nothing_else) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  guest->close_latch();
  guest->set_mode(1, TINY_LATCH);
  BOOST_REQUIRE(guest->wait([&] { return guest->latched(); }));
  // Whoever waits here may itself have to wait for a CPU until its time is over; then it has kicked once only.
  const auto kicked_again = [&] {
    BOOST_TEST(!guest->vm().freeze(Clock::now() + 30ms));
    BOOST_TEST(guest->vm().vcpu(1).stopped_epoch() != guest->vm().epoch());
    guest->vm().thaw();
    return guest->vm().rekicks() > 0;
  };
  BOOST_TEST(guest->wait(kicked_again));
  const std::uint64_t before = guest->counter(0);
  BOOST_TEST(guest->wait([&] { return guest->counter(0) != before; }));
  guest->open_latch();
  for (int round = 0; round < 20; ++round) {
    BOOST_REQUIRE(freeze(*guest));
    guest->vm().thaw();
  }
  const std::uint64_t spun = guest->progress(1, TINY_SPIN);
  BOOST_TEST(guest->wait([&] { return guest->progress(1, TINY_SPIN) != spun; }));
  check_alive(*guest);
}

// A freeze runs out of time, and only then does the vCPU come that it waited for.
BOOST_AUTO_TEST_CASE(a_vcpu_that_comes_too_late_harms_no_later_freeze) {
  if (skip()) return;
  const auto guest = started(2, TINY_COUNT);
  for (int round = 0; round < 50; ++round) {
    guest->close_latch();
    guest->set_mode(1, TINY_LATCH);
    BOOST_REQUIRE(guest->wait([&] { return guest->latched(); }));
    BOOST_TEST(!guest->vm().freeze(Clock::now()));
    guest->open_latch();
    if (round % 2 == 0) BOOST_REQUIRE(guest->wait([&] { return guest->vm().vcpu(1).stopped_epoch() == guest->vm().epoch(); }));
    guest->vm().thaw();
    BOOST_REQUIRE(freeze(*guest));
    const auto stood = all_progress(*guest, TINY_COUNT, 2);
    std::this_thread::yield();
    BOOST_TEST(all_progress(*guest, TINY_COUNT, 2) == stood);
    guest->vm().thaw();
    guest->set_mode(1, TINY_COUNT);
    BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
  }
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(stop_ends_vcpus_wherever_they_are) {
  if (skip()) return;
  for (const tiny_mode mode : {TINY_SPIN, TINY_COUNT, TINY_HALT, TINY_OUT, TINY_IN, TINY_DIE}) {
    auto guest = tiny::Guest::create({.cpus = 2});
    BOOST_REQUIRE(guest.has_value());
    (*guest)->set_mode(mode);
    (*guest)->start();
    (*guest)->stop();
    BOOST_TEST(!(*guest)->vm().running());
    (*guest)->stop();  // again is nothing
  }
  const auto guest = started(2, TINY_COUNT);
  BOOST_REQUIRE(freeze(*guest));  // and out of a freeze
  guest->stop();
}

BOOST_AUTO_TEST_SUITE_END()
