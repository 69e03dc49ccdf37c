#include "vmm/msix.hpp"

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

struct Fixture {
  testing::RecordingSink sink;
  MsixTable table{sink, 3};

  void set(std::uint64_t offset, std::uint32_t value) {
    std::array<std::byte, 4> data;
    std::memcpy(data.data(), &value, 4);
    table.write_table(offset, data);
  }
  std::uint32_t get(std::uint64_t offset) {
    std::array<std::byte, 4> data;
    table.read_table(offset, data);
    std::uint32_t value;
    std::memcpy(&value, data.data(), 4);
    return value;
  }
  std::uint32_t pending() {
    std::array<std::byte, 4> data;
    table.read_pending(0, data);
    std::uint32_t value;
    std::memcpy(&value, data.data(), 4);
    return value;
  }
  void program(unsigned vector, std::uint32_t data, bool masked = false) {
    set(16 * vector, 0xfee0'1000);
    set(16 * vector + 4, 0);
    set(16 * vector + 8, data);
    set(16 * vector + 12, masked ? 1 : 0);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(msix, Fixture)

// Linux: enable with the function masked, program the table, then lift the function mask.
BOOST_AUTO_TEST_CASE(routes_when_the_function_mask_is_lifted) {
  table.set_control(0xc000);
  program(0, 0x41);
  program(1, 0x42, true);
  BOOST_TEST(sink.route_calls == 0);
  table.set_control(0x8000);
  BOOST_TEST(sink.route_calls == 1);
  BOOST_TEST(sink.routes[0].address == 0xfee0'1000U);
  BOOST_TEST(sink.routes[0].data == 0x41U);
  set(16 + 12, 0);
  BOOST_TEST(sink.route_calls == 2);
  BOOST_TEST(sink.routes[1].data == 0x42U);
  // Masking and unmasking without a change is no new route; a change is.
  set(16 + 12, 1);
  set(16 + 12, 0);
  BOOST_TEST(sink.route_calls == 2);
  set(16 + 12, 1);
  set(16 + 8, 0x52);
  BOOST_TEST(sink.route_calls == 2);
  set(16 + 12, 0);
  BOOST_TEST(sink.routes[1].data == 0x52U);
}

BOOST_AUTO_TEST_CASE(masked_triggers_stay_pending) {
  table.set_control(0x8000);
  program(0, 0x41);
  program(1, 0x42, true);
  table.trigger(0);
  BOOST_TEST(sink.count(0) == 1);
  table.trigger(1);
  table.trigger(1);
  BOOST_TEST(sink.count(1) == 0);
  BOOST_TEST(pending() == 2U);
  set(16 + 12, 0);
  BOOST_TEST(sink.count(1) == 1);
  BOOST_TEST(pending() == 0U);
  table.set_control(0xc000);
  table.trigger(0);
  BOOST_TEST(pending() == 1U);
  table.set_control(0x8000);
  BOOST_TEST(sink.count(0) == 2);
  BOOST_TEST(pending() == 0U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_delivered_is_counted) {
  table.trigger(0);  // MSI-X off
  table.set_control(0x8000);
  table.trigger(3);  // no such vector
  set(12, 0);        // unmasked with address 0: no interrupt message
  table.trigger(0);
  BOOST_TEST(sink.route_calls == 0);
  BOOST_TEST(table.counters().undelivered == 3U);
  BOOST_TEST(table.counters().bad_messages == 1U);
  program(0, 0x41);
  set(4, 1);  // above 4 GiB: its old route is dead too
  table.trigger(0);
  BOOST_TEST(sink.count(0) == 0);
}

BOOST_AUTO_TEST_CASE(widths) {
  BOOST_TEST(get(12) == 1U);  // masked after reset
  set(12, 0xffff'fffe);
  BOOST_TEST(get(12) == 0U);
  BOOST_TEST(get(2) == 0xffff'ffffU);
  BOOST_TEST(get(48) == 0xffff'ffffU);
  std::array<std::byte, 8> quad;
  quad.fill(std::byte{0x11});
  table.write_table(0, quad);
  BOOST_TEST(get(4) == 0x1111'1111U);
  table.write_table(4, quad);
  table.write_table(0, std::span(quad).first(2));
  BOOST_TEST(table.counters().bad_accesses == 4U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
