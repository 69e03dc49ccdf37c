#include "vmm/rtc.hpp"

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

struct Fixture {
  std::time_t now = 0;
  CmosRtc clock{[this] { return now; }};

  int get(int index) {
    testing::write_register(clock, 0, static_cast<std::uint8_t>(index));
    return testing::read_register<std::uint8_t>(clock, 1);
  }
  void set(int index, int value) {
    testing::write_register(clock, 0, static_cast<std::uint8_t>(index));
    testing::write_register(clock, 1, static_cast<std::uint8_t>(value));
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(rtc, Fixture)

BOOST_AUTO_TEST_CASE(wall_time_in_bcd) {
  now = 1709210096;  // Thursday 2024-02-29 12:34:56 UTC
  BOOST_TEST(get(0x00) == 0x56);
  BOOST_TEST(get(0x02) == 0x34);
  BOOST_TEST(get(0x04) == 0x12);
  BOOST_TEST(get(0x06) == 5);
  BOOST_TEST(get(0x07) == 0x29);
  BOOST_TEST(get(0x08) == 0x02);
  BOOST_TEST(get(0x09) == 0x24);
  BOOST_TEST(get(0x32) == 0x20);
  now = 1709250000 - 1;  // 23:39:59: hours are not in 12-hour form
  BOOST_TEST(get(0x04) == 0x23);
}

BOOST_AUTO_TEST_CASE(status_registers) {
  BOOST_TEST(get(0x0a) == 0x26);  // no update in progress
  BOOST_TEST(get(0x0b) == 0x02);  // 24 h, BCD
  BOOST_TEST(get(0x0c) == 0x00);
  BOOST_TEST(get(0x0d) == 0x80);
  BOOST_TEST(get(0x8a) == 0x26);  // bit 7 of the index is the NMI mask
}

BOOST_AUTO_TEST_CASE(the_guest_cannot_set_the_time_but_store_bytes) {
  set(0x00, 0x11);
  set(0x0b, 0x86);
  BOOST_TEST(get(0x00) == 0x00);
  BOOST_TEST(get(0x0b) == 0x02);
  BOOST_TEST(clock.ignored_writes() == 2U);
  set(0x40, 0xa5);
  BOOST_TEST(get(0x40) == 0xa5);
}

BOOST_AUTO_TEST_CASE(odd_accesses) {
  BOOST_TEST(testing::read_register<std::uint8_t>(clock, 0) == 0xff);
  testing::write_register<std::uint16_t>(clock, 0, 0x5a41);  // index 0x41, data 0x5a
  BOOST_TEST(get(0x41) == 0x5a);
  BOOST_TEST(testing::read_register<std::uint32_t>(clock, 0) == 0xffff5affU);
  now = -1;
  BOOST_TEST(get(0x09) == 0x69);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
