#include "vmm/pci.hpp"

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

using testing::read_register;
using testing::write_register;

// A function whose 4 KiB BAR holds one number.
class Scratch final : public PciFunction, public RegisterDevice {
 public:
  Scratch() : PciFunction(4096), config_({.vendor = 0x1234, .device = 0x5678, .revision = 3, .class_code = 0xff0000}) {
    config_.add_bar0(4096);
  }
  void config_read(unsigned offset, std::span<std::byte> data) override { config_.read(offset, data); }
  void config_write(unsigned offset, std::span<const std::byte> data) override {
    config_.write(offset, data);
    moves += update_decode(config_) ? 1 : 0;
  }
  RegisterDevice* bar() override { return this; }
  void read(std::uint64_t offset, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = static_cast<std::byte>(offset);
  }
  void write(std::uint64_t offset, std::span<const std::byte>) override { last_write = offset; }

  int moves = 0;
  std::uint64_t last_write = ~std::uint64_t{0};

 private:
  PciConfigSpace config_;
};

struct Fixture {
  PciHost host{layout::kPciWindow, layout::kPciWindowBytes};
  Scratch function;

  Fixture() { BOOST_REQUIRE(host.add(3, function)); }
  template <class T>
  T in(std::uint64_t port) {
    return read_register<T>(host.config_ports(), port - 0xcf8);
  }
  template <class T>
  void out(std::uint64_t port, T value) {
    write_register<T>(host.config_ports(), port - 0xcf8, value);
  }
  void address(unsigned device, unsigned offset) { out<std::uint32_t>(0xcf8, 0x8000'0000U | device << 11 | offset); }
};

constexpr std::uint64_t kInEcam = 3U << 15;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(pci, Fixture)

// arch/x86/pci/direct.c, pci_check_type1() and pci_sanity_check().
BOOST_AUTO_TEST_CASE(type_1_probe) {
  out<std::uint32_t>(0xcf8, 0x8000'1234);
  out<std::uint8_t>(0xcfb, 1);
  BOOST_TEST(in<std::uint32_t>(0xcf8) == 0x8000'1234U);
  out<std::uint32_t>(0xcf8, 0x8000'0000);
  BOOST_TEST(in<std::uint32_t>(0xcf8) == 0x8000'0000U);
  address(0, 0x0a);
  BOOST_TEST(in<std::uint16_t>(0xcfe) == 0x0600);  // a host bridge
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0x06000000U);
}

BOOST_AUTO_TEST_CASE(identity_in_every_width) {
  address(0, 0);
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0x0d578086U);
  address(3, 0);
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0x56781234U);
  BOOST_TEST(in<std::uint16_t>(0xcfe) == 0x5678);
  BOOST_TEST(in<std::uint8_t>(0xcfd) == 0x12);
  BOOST_TEST(read_register<std::uint32_t>(host.ecam(), kInEcam) == 0x56781234U);
  BOOST_TEST(read_register<std::uint16_t>(host.ecam(), kInEcam + 2) == 0x5678);
  BOOST_TEST(read_register<std::uint8_t>(host.ecam(), kInEcam + 8) == 3);
}

BOOST_AUTO_TEST_CASE(nobody_is_all_ones) {
  address(4, 0);
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0xffff'ffffU);
  out<std::uint32_t>(0xcf8, 0x8000'0000U | 3U << 11 | 1U << 8);  // function 1
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0xffff'ffffU);
  out<std::uint32_t>(0xcf8, 0x8001'0000U);  // bus 1
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0xffff'ffffU);
  out<std::uint32_t>(0xcf8, 3U << 11);  // not enabled
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0xffff'ffffU);
  BOOST_TEST(read_register<std::uint32_t>(host.ecam(), 31U << 15) == 0xffff'ffffU);
  BOOST_TEST(read_register<std::uint32_t>(host.ecam(), kInEcam + 0x100) == 0U);  // no extended capabilities
  BOOST_TEST(in<std::uint16_t>(0xcf8) == 0xffff);
  BOOST_TEST(in<std::uint64_t>(0xcf8) == ~std::uint64_t{0});
}

BOOST_AUTO_TEST_CASE(bar_is_sized_placed_and_moved) {
  BOOST_TEST(function.decoded_at() == 0U);
  address(3, 0x10);
  out<std::uint32_t>(0xcfc, 0xffff'ffff);
  BOOST_TEST(in<std::uint32_t>(0xcfc) == 0xffff'f000U);
  for (unsigned other = 0x14; other <= 0x30; other += 4) {
    if (other == 0x28 || other == 0x2c) continue;
    address(3, other);
    out<std::uint32_t>(0xcfc, 0xffff'ffff);
    BOOST_TEST(in<std::uint32_t>(0xcfc) == 0U);
  }
  address(3, 0x10);
  out<std::uint32_t>(0xcfc, 0xe000'3000);
  BOOST_TEST(function.decoded_at() == 0U);  // memory decoding is off
  address(3, 0x04);
  out<std::uint16_t>(0xcfc, 0xffff);
  BOOST_TEST(in<std::uint16_t>(0xcfc) == 6);
  BOOST_TEST(function.decoded_at() == 0xe000'3000U);
  BOOST_TEST(read_register<std::uint8_t>(host.window(), 0x3042) == 0x42);
  BOOST_TEST(read_register<std::uint32_t>(host.window(), 0x2ffe) == 0xffff'ffffU);  // straddles the edge
  BOOST_TEST(read_register<std::uint32_t>(host.window(), 0x3ffe) == 0xffff'ffffU);
  write_register<std::uint32_t>(host.window(), 0x3010, 1);
  BOOST_TEST(function.last_write == 0x10U);
  BOOST_TEST(host.stray_accesses() == 2U);

  write_register<std::uint32_t>(host.ecam(), kInEcam + 0x10, 0xefff'f000);
  BOOST_TEST(read_register<std::uint8_t>(host.window(), 0x0fff'f042) == 0x42);
  BOOST_TEST(read_register<std::uint8_t>(host.window(), 0x3042) == 0xff);
  BOOST_TEST(function.moves == 2);
  write_register<std::uint16_t>(host.ecam(), kInEcam + 0x04, 0);
  BOOST_TEST(function.decoded_at() == 0U);
}

BOOST_AUTO_TEST_CASE(bar_outside_of_the_window_is_not_decoded) {
  write_register<std::uint16_t>(host.ecam(), kInEcam + 0x04, 2);
  for (const std::uint32_t address : {0U, 0x1000U, 0xdfff'f000U, 0xf000'0000U, 0xfee0'0000U, 0xffff'f000U}) {
    write_register<std::uint32_t>(host.ecam(), kInEcam + 0x10, address);
    BOOST_TEST(function.decoded_at() == 0U);
  }
  write_register<std::uint8_t>(host.ecam(), kInEcam + 0x13, 0xe1);  // byte by byte as well
  BOOST_TEST(function.decoded_at() == 0xe1ff'f000U);
}

BOOST_AUTO_TEST_CASE(wide_config_accesses_are_cut_into_dwords) {
  BOOST_TEST(read_register<std::uint64_t>(host.ecam(), kInEcam) == 0x0000'0000'5678'1234U);
  BOOST_TEST(read_register<std::uint32_t>(host.ecam(), kInEcam + 2) == 0x0000'5678U);
  BOOST_TEST(read_register<std::uint64_t>(host.ecam(), kInEcam + 0xffc) == 0xffff'ffff'0000'0000U);
}

BOOST_AUTO_TEST_CASE(reset_port) {
  int resets = 0;
  host.set_reset_callback([&resets] { ++resets; });
  out<std::uint8_t>(0xcf9, 0x02);
  BOOST_TEST(resets == 0);
  BOOST_TEST(in<std::uint8_t>(0xcf9) == 0x02);
  out<std::uint8_t>(0xcf9, 0x0e);
  BOOST_TEST(resets == 1);
}

BOOST_AUTO_TEST_CASE(places) {
  Scratch other;
  BOOST_TEST(!host.add(0, other));
  BOOST_TEST(!host.add(3, other));
  BOOST_TEST(!host.add(32, other));
  BOOST_TEST(host.add(31, other));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
