// No kick is lost: of thousands of freezes none fails, nothing moves in any, and every vCPU runs again after each.
//
// The repeated kick that would paper over a lost one is switched off. FLOE_FREEZES sets the number (2,000; the long test: 100,000).
#include <array>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <sstream>

#include "freeze/frozen.hpp"
#include "tests/tiny/guest.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kCpus = 3;
constexpr auto kLimit = 30s;  // of a freeze, and for a vCPU to run again: far beyond what a busy host does to a thread
constexpr unsigned kPairsPerMix = 20;

constexpr std::array kModes = {TINY_COUNT, TINY_HALT, TINY_OUT, TINY_IN, TINY_SPIN};
constexpr std::array kModeNames = {"counting", "halted", "writing a port", "reading a port", "spinning"};

unsigned freezes() {
  const char* asked = std::getenv("FLOE_FREEZES");
  return asked ? static_cast<unsigned>(std::strtoul(asked, nullptr, 10)) : 2000;
}

class Storm {
 public:
  explicit Storm(tiny::Guest& guest) : guest_(guest) {}

  // Another mix of spinning, halted and exiting vCPUs.
  void mix(unsigned number) {
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
      what_[cpu] = (number * (cpu + 1) + cpu) % kModes.size();
      guest_.set_mode(cpu, kModes[what_[cpu]]);
    }
  }

  // Two freezes in which everything stands still. The second one's kick comes while the vCPUs are on their way back, each time at another
  // point of it: between the look at the gate and the entry into the guest is where one would be lost.
  bool freeze_twice(unsigned number) {
    if (!stand_still(number)) return false;
    const auto until = vmm::Clock::now() + 250ns * (number * 37 % 256);
    while (vmm::Clock::now() < until) {
    }
    return stand_still(number);
  }

  // After the thaw every vCPU has moved on from where it stood.
  bool runs_again(unsigned number) {
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
      const auto moved = [this, cpu] { return progress(cpu) != stood_[cpu]; };
      if (kModes[what_[cpu]] == TINY_HALT && number % 2 == 0) guest_.wake(cpu);
      if (!guest_.wait(moved, kLimit)) return failed(number, cpu, "did not run again after the thaw");
    }
    return true;
  }

  unsigned moved() const { return moved_; }

 private:
  std::uint64_t progress(unsigned cpu) const { return guest_.progress(cpu, kModes[what_[cpu]]); }

  bool stand_still(unsigned number) {
    bool complete = false, captured = false;
    {
      Frozen frozen(guest_.vm(), kLimit);
      complete = frozen.complete();
      captured = frozen.await_states();
      for (unsigned cpu = 0; cpu < kCpus; ++cpu) stood_[cpu] = progress(cpu);
      // Every second time a halted vCPU finds its interrupt already there.
      for (unsigned cpu = 0; cpu < kCpus; ++cpu)
        if (kModes[what_[cpu]] == TINY_HALT && number % 2 == 1) guest_.wake(cpu);
      for (unsigned cpu = 0; cpu < kCpus; ++cpu) moved_ += progress(cpu) != stood_[cpu];
    }
    if (complete && captured) return true;
    for (unsigned cpu = 0; cpu < kCpus; ++cpu)
      if (guest_.vm().vcpu(cpu).stopped_epoch() != guest_.vm().epoch() - 1) return failed(number, cpu, "did not stop");
    return failed(number, 0, "or another one did not capture its state");
  }

  bool failed(unsigned number, unsigned cpu, const char* what) const {
    const vmm::Vcpu& vcpu = guest_.vm().vcpu(cpu);
    BOOST_ERROR("freeze " << number * 2 << ": vCPU " << cpu << " (" << kModeNames[what_[cpu]] << ") " << what << " within "
                          << kLimit.count() << " s; it was kicked out of its guest " << vcpu.counters().kicks.load() << " times and parked "
                          << vcpu.counters().parks.load() << " times");
    return false;
  }

  tiny::Guest& guest_;
  std::array<std::size_t, kCpus> what_{};
  std::array<std::uint64_t, kCpus> stood_{};
  unsigned moved_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kicks)

BOOST_AUTO_TEST_CASE(none_is_lost_and_every_vcpu_runs_again) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  auto made = tiny::Guest::create({.cpus = kCpus});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  tiny::Guest& guest = **made;
  guest.vm().set_rekick(kLimit * 2);
  guest.start();
  Storm storm(guest);
  const unsigned count = freezes();
  bool well = true;
  for (unsigned number = 0; well && number < count / 2; ++number) {
    if (number % kPairsPerMix == 0) storm.mix(number / kPairsPerMix);
    well = storm.freeze_twice(number) && storm.runs_again(number);
  }
  BOOST_TEST(storm.moved() == 0u);
  BOOST_TEST(guest.vm().rekicks() == 0u);
  BOOST_TEST(guest.faults() == 0u);
  BOOST_TEST(guest.events().empty());
  for (unsigned cpu = 0; well && cpu < kCpus; ++cpu) BOOST_TEST(guest.vm().vcpu(cpu).counters().parks.load() == count / 2 * 2);
  BOOST_TEST_MESSAGE(count << " freezes");
}

BOOST_AUTO_TEST_SUITE_END()
