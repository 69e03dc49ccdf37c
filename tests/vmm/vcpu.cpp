#include "vmm/vcpu.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/tiny/guest.hpp"
#include "vmm/vm.hpp"

using namespace floe;
using namespace floe::vmm;
using namespace std::chrono_literals;

namespace {

bool skip() {
  if (tiny::unavailable()) BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
  return tiny::unavailable().has_value();
}

std::unique_ptr<tiny::Guest> started(const tiny::GuestOptions& options, tiny_mode mode) {
  auto guest = tiny::Guest::create(options);
  BOOST_REQUIRE_MESSAGE(guest.has_value(), (guest ? "" : guest.error().message));
  (*guest)->set_mode(mode);
  (*guest)->start();
  return std::move(*guest);
}

void freeze(tiny::Guest& guest) {
  BOOST_REQUIRE(guest.vm().freeze(Clock::now() + 20s));
}

void check_alive(const tiny::Guest& guest) {
  BOOST_TEST(guest.faults() == 0u);
  for (const auto& event : guest.events()) BOOST_TEST_ERROR("vCPU " << event.vcpu << ": " << event.detail);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(vcpu)

BOOST_AUTO_TEST_CASE(a_parked_vcpu_shows_the_state_it_stopped_in) {
  if (skip()) return;
  const auto guest = started({.cpus = 2}, TINY_COUNT);
  BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
  freeze(*guest);
  for (unsigned cpu = 0; cpu < guest->cpus(); ++cpu) {
    const VcpuState& state = guest->vm().vcpu(cpu).state();
    BOOST_TEST(guest->in_payload(state.regs.rip));
    BOOST_TEST(state.sregs.cr3 == std::uint64_t{TINY_PAGE_TABLES});
    BOOST_TEST(state.sregs.cs.selector == TINY_CODE3);
    BOOST_TEST((state.sregs.efer & 0x400) != 0u);  // LMA
    const std::uint64_t stack = tiny::Guest::area(cpu, TINY_RING3_STACK).value;
    BOOST_TEST((state.regs.rsp <= stack && state.regs.rsp > stack - 0x4000));
    BOOST_TEST(state.mp_state.mp_state == unsigned{KVM_MP_STATE_RUNNABLE});
    BOOST_TEST(state.missing == 0u);
    BOOST_TEST(state.msrs.count > 10u);
    std::uint32_t spurious = 0;
    std::memcpy(&spurious, state.lapic.regs + 0xf0, sizeof spurious);
    BOOST_TEST(spurious == 0x1ffu);
  }
  guest->vm().thaw();
  BOOST_TEST(guest->wait_for_progress(TINY_COUNT));
  check_alive(*guest);
}

// The registers come with the run that the kick ends, not by an ioctl of their own: they are no older than what KVM would answer now.
// Where no run ended (frozen again at once, or a vCPU that died since) there is nothing synced to be taken for new.
BOOST_AUTO_TEST_CASE(the_registers_are_those_that_kvm_has) {
  if (skip()) return;
  const auto guest = started({.cpus = 2}, TINY_COUNT);
  const auto check_frozen = [&guest](const char* when) {
    freeze(*guest);
    for (unsigned cpu = 0; cpu < guest->cpus(); ++cpu) {
      const Vcpu& vcpu = guest->vm().vcpu(cpu);
      kvm_regs regs{};
      kvm_sregs sregs{};
      BOOST_REQUIRE(::ioctl(vcpu.fd(), KVM_GET_REGS, &regs) == 0);
      BOOST_REQUIRE(::ioctl(vcpu.fd(), KVM_GET_SREGS, &sregs) == 0);
      if (std::memcmp(&regs, &vcpu.state().regs, sizeof regs) != 0) BOOST_ERROR("vCPU " << cpu << " has other registers, " << when);
      if (std::memcmp(&sregs, &vcpu.state().sregs, sizeof sregs) != 0) BOOST_ERROR("vCPU " << cpu << " has other segments, " << when);
    }
    guest->vm().thaw();
  };
  guest->set_mode(1, TINY_IN);
  for (int round = 0; round < 200; ++round) {
    check_frozen("running");
    check_frozen("frozen again");
    const std::uint64_t counted = guest->counter(0);
    BOOST_REQUIRE(guest->wait([&] { return guest->counter(0) != counted; }));
  }
  check_alive(*guest);
  guest->set_mode(1, TINY_DIE);
  BOOST_REQUIRE(guest->wait([&] { return !guest->events().empty(); }));
  check_frozen("dead");
}

// An access that left the guest but has not come back yet would show the instruction as not done although the device has done
// it: resumed from there, the guest would make the access twice.
BOOST_AUTO_TEST_CASE(an_access_under_way_is_finished_before_the_state_is_taken) {
  if (skip()) return;
  const auto guest = started({}, TINY_IN);
  BOOST_REQUIRE(guest->wait_for_progress(TINY_IN));
  unsigned behind_the_read = 0;
  for (int round = 0; round < 300 || (behind_the_read == 0 && round < 100'000); ++round) {
    freeze(*guest);
    const kvm_regs& regs = guest->vm().vcpu(0).state().regs;
    const std::uint64_t stored = guest->status(0, &tiny_status::last_in);
    const std::uint64_t answered = guest->last_sequence();
    const std::uint64_t read = guest->header().in_instruction;
    const bool is_behind = regs.rip == read + 1;
    behind_the_read += is_behind;
    const std::uint64_t seen = is_behind ? regs.rax & 0xffffffff : stored;
    if (seen != answered)
      BOOST_TEST(seen == answered, "at rip " << regs.rip - read << " from the read the guest has seen " << seen << " of " << answered);
    guest->vm().thaw();
    BOOST_REQUIRE(guest->wait([&] { return guest->last_sequence() > answered; }));
  }
  BOOST_TEST_MESSAGE(behind_the_read << " freezes caught the read itself");
  BOOST_TEST(behind_the_read > 0u);
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(port_writes_reach_the_device_once_each) {
  if (skip()) return;
  const auto guest = started({.cpus = 2}, TINY_OUT);
  BOOST_REQUIRE(guest->wait_for_progress(TINY_OUT));
  for (int round = 0; round < 50; ++round) {
    BOOST_REQUIRE(guest->wait_for_progress(TINY_OUT));
    freeze(*guest);
    guest->vm().thaw();
  }
  BOOST_REQUIRE(guest->halt());
  std::uint64_t written = 0;
  for (unsigned cpu = 0; cpu < 2; ++cpu) written += guest->status(cpu, &tiny_status::progress);
  BOOST_TEST(guest->port_writes() == written);
  BOOST_TEST(guest->vm().vcpu(0).counters().unclaimed.load() == 0u);
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(interrupts_wake_a_halted_vcpu_and_none_is_lost) {
  if (skip()) return;
  const auto guest = started({}, TINY_HALT);
  BOOST_REQUIRE(guest->wait([&] { return guest->status(0, &tiny_status::halted) == 1; }));
  for (int round = 0; round < 100; ++round) {
    const std::uint64_t before = guest->status(0, &tiny_status::wakes);
    freeze(*guest);
    guest->wake(0);  // stays pending in the frozen APIC
    BOOST_TEST(guest->status(0, &tiny_status::wakes) == before);
    guest->vm().thaw();
    BOOST_REQUIRE(guest->wait([&] { return guest->status(0, &tiny_status::wakes) == before + 1; }));
  }
  check_alive(*guest);
}

BOOST_AUTO_TEST_CASE(a_vcpu_that_died_tells_so_once_and_still_parks_with_its_registers) {
  if (skip()) return;
  const auto guest = started({.cpus = 2}, TINY_COUNT);
  BOOST_REQUIRE(guest->wait_for_progress(TINY_COUNT));
  guest->set_mode(1, TINY_DIE);
  BOOST_REQUIRE(guest->wait([&] { return !guest->events().empty(); }));
  for (int round = 0; round < 20; ++round) {
    freeze(*guest);
    const VcpuState& dead = guest->vm().vcpu(1).state();
    BOOST_TEST(guest->in_payload(dead.regs.rip));
    BOOST_TEST(dead.sregs.cr3 == std::uint64_t{TINY_PAGE_TABLES});
    guest->vm().thaw();
    const std::uint64_t before = guest->counter(0);
    BOOST_REQUIRE(guest->wait([&] { return guest->counter(0) != before; }));
  }
  const auto events = guest->events();
  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST(events[0].vcpu == 1u);
  BOOST_TEST((events[0].kind == VcpuEvent::Kind::kTripleFault));
  BOOST_TEST_MESSAGE(events[0].detail);
}

BOOST_AUTO_TEST_SUITE_END()
