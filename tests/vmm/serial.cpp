#include "vmm/serial.hpp"

#include <cstring>
#include <string>

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

struct Line final : InterruptLine {
  void set(bool now) override { level = now; }
  bool level = false;
};

struct Fixture {
  Line line;
  std::string text;
  Serial16550 port{line, [this](std::span<const std::byte> bytes) { text += testing::text_of(bytes); }};

  int in(unsigned offset) { return testing::read_register<std::uint8_t>(port, offset); }
  void out(unsigned offset, int value) { testing::write_register(port, offset, static_cast<std::uint8_t>(value)); }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(serial, Fixture)

BOOST_AUTO_TEST_CASE(bytes_go_out_at_once) {
  for (const char c : std::string("Linux")) {
    BOOST_TEST((in(5) & 0x20) == 0x20);
    out(0, c);
  }
  BOOST_TEST(text == "Linux");
  BOOST_TEST(!line.level);
}

// drivers/tty/serial/8250/8250_port.c, autoconfig().
BOOST_AUTO_TEST_CASE(autodetection_sees_a_16550a) {
  out(1, 0);
  BOOST_TEST((in(1) & 0x0f) == 0);
  out(1, 0x0f);
  BOOST_TEST((in(1) & 0x0f) == 0x0f);
  out(1, 0);
  out(4, 0x10 | 0x0a);  // loop-back, RTS and OUT2
  BOOST_TEST((in(6) & 0xf0) == 0x90);
  out(4, 0);
  out(2, 1);
  BOOST_TEST(in(2) == 0xc1);
  out(2, 0);
  BOOST_TEST(in(2) == 0x01);
  out(7, 0x5a);
  BOOST_TEST(in(7) == 0x5a);
  BOOST_TEST(in(5) == 0x60);
  BOOST_TEST(in(6) == 0xb0);
}

BOOST_AUTO_TEST_CASE(divisor_latch_hides_data_and_enable) {
  out(1, 0x02);
  out(3, 0x80 | 3);
  out(0, 1);
  out(1, 2);
  BOOST_TEST(in(0) == 1);
  BOOST_TEST(in(1) == 2);
  out(3, 3);
  BOOST_TEST(in(1) == 0x02);
  BOOST_TEST(text.empty());
}

BOOST_AUTO_TEST_CASE(transmitter_empty_interrupt) {
  out(2, 1);
  out(1, 2);
  BOOST_TEST(line.level);
  BOOST_TEST(in(2) == 0xc2);  // acknowledges
  BOOST_TEST(!line.level);
  BOOST_TEST(in(2) == 0xc1);
  out(0, 'x');
  BOOST_TEST(line.level);
  out(1, 0);
  BOOST_TEST(!line.level);
}

BOOST_AUTO_TEST_CASE(loop_back_returns_the_byte) {
  out(2, 1);
  out(4, 0x10);
  out(1, 1);
  out(0, 'q');
  BOOST_TEST(text.empty());
  BOOST_TEST(line.level);
  BOOST_TEST((in(5) & 1) == 1);
  BOOST_TEST(in(2) == 0xc4);
  BOOST_TEST(in(0) == 'q');
  BOOST_TEST((in(5) & 1) == 0);
  BOOST_TEST(!line.level);
}

BOOST_AUTO_TEST_CASE(any_width_and_offset) {
  BOOST_TEST(testing::read_register<std::uint32_t>(port, 5) == 0xff00b060U);
  BOOST_TEST(testing::read_register<std::uint64_t>(port, 7) == 0xffffffffffffff00U);
  testing::write_register<std::uint64_t>(port, 6, ~std::uint64_t{0});
  BOOST_TEST(in(7) == 0xff);
}

BOOST_AUTO_TEST_CASE(saved_state) {
  out(7, 0x77);
  std::array<std::byte, sizeof(Serial16550::State)> bytes;
  BOOST_TEST(port.save(std::span(bytes).first(4)) == 0U);
  BOOST_TEST(port.save(bytes) == bytes.size());
  Serial16550::State state;
  std::memcpy(&state, bytes.data(), sizeof state);
  BOOST_TEST(state.version == 1U);
  BOOST_TEST(state.scratch == 0x77);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
