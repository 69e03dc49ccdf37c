#include "vmm/debug_registers.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

#include "tests/tiny/guest.hpp"
#include "vmm/probe.hpp"

using namespace floe;
using namespace floe::vmm;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(debug_registers)

BOOST_AUTO_TEST_CASE(the_control_word_is_a_4_byte_write_for_each_address) {
  BOOST_TEST(debug_control({}) == 0x700u);
  BOOST_TEST(debug_control({8, 0, 0, 0}) == 0x000D0703u);
  BOOST_TEST(debug_control({8, 8, 8, 8}) == 0xDDDD07FFu);
  BOOST_TEST(debug_control({0, 0, 8, 0}) == 0x0D000730u);
}

BOOST_AUTO_TEST_CASE(a_hit_is_told_once_until_it_is_taken) {
  DebugRegisters watches;
  int kicks = 0, told = 0;
  watches.set_kick([&] { ++kicks; });
  watches.set_on_hit([&] { ++told; });
  BOOST_TEST(watches.unused());
  watches.request(1, Kva(0x1000));
  watches.request(1, Kva(0x1000));
  BOOST_TEST(kicks == 1);
  BOOST_TEST(!watches.unused());
  const DebugAddresses armed = watches.requested();
  BOOST_TEST(armed[1] == 0x1000u);
  watches.note(0xffff0ff2, armed);
  watches.note(0xffff0ff2, armed);  // of another vCPU
  BOOST_TEST(told == 1);
  BOOST_TEST(watches.hits() == 2u);
  BOOST_TEST(watches.take_hit(1));
  BOOST_TEST(!watches.take_hit(1));
  BOOST_TEST(!watches.take_hit(0));
  watches.note(0xffff0ff2, armed);
  BOOST_TEST(told == 2);
}

BOOST_AUTO_TEST_CASE(what_was_not_armed_is_not_hit) {
  DebugRegisters watches;
  watches.request(0, Kva(0x1000));
  watches.note(0xffff0ff0, watches.requested());  // none of the four: the guest's own
  watches.note(0xffff0ffe, watches.requested());  // others
  BOOST_TEST(watches.hits() == 0u);
}

BOOST_AUTO_TEST_CASE(a_hit_of_an_address_that_is_watched_no_more_does_not_count) {
  DebugRegisters watches;
  watches.request(0, Kva(0x1000));
  const DebugAddresses armed = watches.requested();
  watches.note(1, armed);
  watches.request(0, Kva(0x2000));
  BOOST_TEST(!watches.take_hit(0));  // forgotten
  watches.note(1, armed);            // a vCPU that has not come back yet
  BOOST_TEST(!watches.take_hit(0));
  watches.request(0, Kva(0));
  watches.note(1, armed);
  BOOST_TEST(!watches.take_hit(0));
  BOOST_TEST((watches.requested() == DebugAddresses{}));
}

BOOST_AUTO_TEST_CASE(several_vcpus_hit_one_slot_once) {
  DebugRegisters watches;
  std::atomic<int> told{0};
  watches.set_on_hit([&] { ++told; });
  watches.request(2, Kva(0x1000));
  const DebugAddresses armed = watches.requested();
  std::vector<std::thread> vcpus;
  for (int n = 0; n < 4; ++n)
    vcpus.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) watches.note(4, armed);
    });
  for (auto& vcpu : vcpus) vcpu.join();
  BOOST_TEST(told == 1);
  BOOST_TEST(watches.hits() == 4000u);
  BOOST_TEST(watches.take_hit(2));
}

// Whether this machine's KVM fires or not, the test gives an answer, the same one each time.
BOOST_AUTO_TEST_CASE(this_kvm_is_tried) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  const auto first = write_watches_fire(20s);
  BOOST_REQUIRE_MESSAGE(first, first.error().message);
  BOOST_TEST_MESSAGE("write watches " << (*first ? "fire" : "do not fire"));
  const auto second = write_watches_fire(20s);
  BOOST_REQUIRE_MESSAGE(second, second.error().message);
  BOOST_TEST(*first == *second);
}

// Arming and letting go disturb no guest, and no freeze.
BOOST_AUTO_TEST_CASE(a_guest_goes_on_while_watches_come_and_go) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  auto guest = tiny::Guest::create({.cpus = 2});
  BOOST_REQUIRE(guest.has_value());
  (*guest)->set_mode(TINY_COUNT);
  (*guest)->start();
  BOOST_REQUIRE((*guest)->wait_for_progress(TINY_COUNT));
  auto& watches = (*guest)->vm().debug_registers();
  for (std::uint64_t i = 0; i < 50; ++i) {
    watches.request(i % kDebugSlots, Kva(i % 3 == 0 ? 0 : 0xffff'8880'0000'0000 + 4 * i));
    if (i % 5 == 0) {
      BOOST_REQUIRE((*guest)->vm().freeze(Clock::now() + 20s));
      (*guest)->vm().thaw();
    }
  }
  BOOST_TEST((*guest)->wait_for_progress(TINY_COUNT));
  for (std::size_t slot = 0; slot < kDebugSlots; ++slot) watches.request(slot, Kva(0));
  BOOST_TEST((*guest)->wait_for_progress(TINY_COUNT));
  BOOST_TEST((*guest)->faults() == 0u);
  BOOST_TEST((*guest)->events().empty());
  BOOST_TEST(watches.refusals() == 0u);
  BOOST_TEST(watches.hits() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
