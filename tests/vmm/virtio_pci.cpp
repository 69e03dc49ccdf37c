#include "vmm/virtio_pci.hpp"

#include <thread>

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

using testing::GuestDriver;

}  // namespace

BOOST_AUTO_TEST_SUITE(virtio_pci)

BOOST_AUTO_TEST_CASE(identity_and_capabilities) {
  GuestDriver guest;
  BOOST_TEST(guest.config<std::uint32_t>(0x00) == 0x10431af4U);
  BOOST_TEST(guest.config<std::uint8_t>(0x08) == 1);
  BOOST_TEST(guest.config<std::uint16_t>(0x0a) == 0x0780);
  BOOST_TEST(guest.config<std::uint16_t>(0x06) == 0x0010);
  BOOST_TEST(guest.config<std::uint32_t>(0x2c) == 0x00401af4U);
  BOOST_TEST(guest.config<std::uint8_t>(0x3d) == 0);

  struct Place {
    unsigned bar;
    std::uint32_t offset, length;
    bool operator==(const Place&) const = default;
  };
  std::map<unsigned, Place> found;
  bool msix = false;
  unsigned capabilities = 0;
  for (unsigned at = guest.config<std::uint8_t>(0x34); at != 0 && capabilities < 16; at = guest.config<std::uint8_t>(at + 1)) {
    ++capabilities;
    const unsigned id = guest.config<std::uint8_t>(at);
    if (id == 0x11) {
      msix = true;
      BOOST_TEST(at == 0x84U);  // where GuestDriver expects it
      BOOST_TEST(guest.config<std::uint16_t>(at + 2) == 6);
      BOOST_TEST(guest.config<std::uint32_t>(at + 4) == 0x4000U);
      BOOST_TEST(guest.config<std::uint32_t>(at + 8) == 0x4800U);
      continue;
    }
    BOOST_TEST(id == 9U);
    const unsigned type = guest.config<std::uint8_t>(at + 3);
    BOOST_TEST(guest.config<std::uint8_t>(at + 2) == (type == 2 ? 20 : 16));
    found[type] = {guest.config<std::uint8_t>(at + 4), guest.config<std::uint32_t>(at + 8), guest.config<std::uint32_t>(at + 12)};
    if (type == 2) {
      BOOST_TEST(guest.config<std::uint32_t>(at + 16) == 4U);
    }
  }
  BOOST_TEST(msix);
  BOOST_TEST(capabilities == 5U);
  BOOST_TEST((found[1] == Place{0, 0, 0x38}));
  BOOST_TEST((found[3] == Place{0, 0x1000, 1}));
  BOOST_TEST((found[4] == Place{0, 0x2000, 12}));
  BOOST_TEST((found[2] == Place{0, 0x3000, 24}));
}

BOOST_AUTO_TEST_CASE(bar_is_32_kib) {
  GuestDriver guest;
  guest.set_config<std::uint32_t>(0x10, 0xffff'ffff);
  BOOST_TEST(guest.config<std::uint32_t>(0x10) == 0xffff'8000U);
}

// drivers/virtio/virtio_pci_modern.c and virtio.c, in their order.
BOOST_AUTO_TEST_CASE(status_sequence) {
  GuestDriver guest;
  guest.place_bar(0xe000'0000);
  guest.set_mmio<std::uint8_t>(0x14, 0);
  BOOST_TEST(guest.status() == 0);
  guest.set_mmio<std::uint8_t>(0x14, 1);
  guest.set_mmio<std::uint8_t>(0x14, 3);
  guest.set_mmio<std::uint32_t>(0x00, 0);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x04) == 2U);
  guest.set_mmio<std::uint32_t>(0x00, 1);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x04) == 1U);
  guest.set_mmio<std::uint32_t>(0x00, 2);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x04) == 0U);
  guest.negotiate();
  BOOST_TEST(guest.status() == 0xb);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x12) == 6);
  BOOST_TEST(guest.mmio<std::uint8_t>(0x15) == 0);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x2004) == 2U);  // ports

  guest.set_mmio<std::uint16_t>(0x10, 0);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x10) == 0);
  guest.set_mmio<std::uint16_t>(0x10, 7);  // no such vector
  BOOST_TEST(guest.mmio<std::uint16_t>(0x10) == 0xffff);
  guest.set_mmio<std::uint16_t>(0x16, 4);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x18) == 64);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 0);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1e) == 4);
  guest.set_queues();
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 1);
  guest.set_mmio<std::uint16_t>(0x16, 6);  // no such queue
  BOOST_TEST(guest.mmio<std::uint16_t>(0x18) == 0);
  guest.set_mmio<std::uint8_t>(0x14, 0xf);
  BOOST_TEST(guest.status() == 0xf);

  guest.set_mmio<std::uint8_t>(0x14, 0);
  BOOST_TEST(guest.status() == 0);
  guest.set_mmio<std::uint16_t>(0x16, 0);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 0);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1a) == 0xffff);
}

BOOST_AUTO_TEST_CASE(features_that_cannot_be) {
  // Among them VIRTIO_RING_F_EVENT_IDX: with it a driver need not notify when it refills, and bytes to it would be stranded.
  constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32, kEventIdx = std::uint64_t{1} << 29;
  for (const std::uint64_t features : {std::uint64_t{2}, kVersion1 | 1, std::uint64_t{3} << 32, kVersion1 | kEventIdx, std::uint64_t{0}}) {
    GuestDriver guest;
    guest.place_bar(0xe000'0000);
    guest.negotiate(features);
    BOOST_TEST(guest.status() == 3);
    guest.set_mmio<std::uint8_t>(0x14, 0xf);
    BOOST_TEST((guest.status() & 4) == 0);
    BOOST_TEST(guest.console.function().counters().refused_features >= 1U);
  }
}

BOOST_AUTO_TEST_CASE(status_out_of_order) {
  GuestDriver guest;
  guest.place_bar(0xe000'0000);
  guest.set_mmio<std::uint8_t>(0x14, 7);  // DRIVER_OK without FEATURES_OK
  BOOST_TEST(guest.status() == 3);
  guest.set_mmio<std::uint8_t>(0x14, 1);  // takes a bit back
  BOOST_TEST(guest.status() == 3);
  BOOST_TEST(guest.console.function().counters().refused_status == 2U);
  guest.set_mmio<std::uint8_t>(0x14, 0x83);
  BOOST_TEST(guest.status() == 0x83);
  guest.set_mmio<std::uint8_t>(0x14, 0xc3);  // NEEDS_RESET is not the driver's to set
  BOOST_TEST(guest.status() == 0x83);
}

BOOST_AUTO_TEST_CASE(vectors_are_routed_and_fire) {
  GuestDriver guest;
  guest.probe();
  BOOST_TEST(guest.sink.routes.size() == 7U);
  BOOST_TEST(guest.sink.routes[3].address == 0xfee0'3000U);
  BOOST_TEST(guest.sink.routes[3].data == 0x43U);
  guest.write_port(1, "x");
  BOOST_TEST(guest.sink.count(2) == 1);  // queue 1 has vector 2
  BOOST_TEST(guest.mmio<std::uint8_t>(0x1000) == 1);
  BOOST_TEST(guest.mmio<std::uint8_t>(0x1000) == 0);  // reading clears

  guest.set_mmio<std::uint32_t>(0x402c, 1);
  guest.write_port(1, "y");
  BOOST_TEST(guest.sink.count(2) == 1);
  BOOST_TEST(guest.mmio<std::uint64_t>(0x4800) == 4U);
  guest.set_mmio<std::uint32_t>(0x402c, 0);
  BOOST_TEST(guest.sink.count(2) == 2);
  guest.queues[1].suppress_interrupts(true);
  guest.write_port(1, "z");
  BOOST_TEST(guest.sink.count(2) == 2);
  BOOST_TEST(guest.taken(0) == "xyz");
}

BOOST_AUTO_TEST_CASE(a_broken_ring_needs_a_reset) {
  GuestDriver guest;
  guest.probe();
  guest.queues[1].put(0, ~std::uint64_t{0}, 8);
  guest.queues[1].offer(0);
  guest.notify(1);
  BOOST_TEST(guest.status() == 0x4f);
  BOOST_TEST(guest.sink.count(0) == 1);  // a configuration change
  BOOST_TEST(guest.mmio<std::uint8_t>(0x1000) == 2);
  const auto counters = guest.console.function().counters();
  BOOST_TEST(counters.faults[static_cast<std::size_t>(QueueFault::kBuffer)] == 1U);
  BOOST_TEST((counters.last_fault == QueueFault::kBuffer));
  BOOST_TEST(counters.last_fault_queue == 1);
  guest.notify(1);
  guest.write_port(5, "nothing runs now");
  BOOST_TEST(guest.sink.count(0) == 1);
  BOOST_TEST(guest.queues[5].used_index() == 0);

  guest.start();
  guest.write_port(1, "again");
  BOOST_TEST(guest.taken(0) == "again");
}

BOOST_AUTO_TEST_CASE(a_queue_that_cannot_be_enabled_needs_a_reset) {
  GuestDriver guest;
  guest.place_bar(0xe000'0000);
  guest.negotiate();
  guest.set_queue(0, {64, Gpa(0x8000'0000), Gpa(0x1000), Gpa(0x2000)});
  BOOST_TEST(guest.status() == 0x4b);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 0);
  guest.set_queue(1, {64, Gpa(0x10000), Gpa(0x11000), Gpa(0x12000)});
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 0);
}

BOOST_AUTO_TEST_CASE(queues_are_fixed_while_enabled_and_need_features_first) {
  GuestDriver guest;
  guest.place_bar(0xe000'0000);
  guest.set_queue(0, {64, Gpa(0x10000), Gpa(0x11000), Gpa(0x12000)});
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 0);
  guest.negotiate();
  guest.set_queue(0, {64, Gpa(0x10000), Gpa(0x11000), Gpa(0x12000)});
  BOOST_TEST(guest.mmio<std::uint16_t>(0x1c) == 1);
  guest.set_mmio<std::uint32_t>(0x20, 0x5000);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x20) == 0x10000U);
  guest.set_mmio<std::uint16_t>(0x18, 32);
  BOOST_TEST(guest.mmio<std::uint16_t>(0x18) == 64);
}

BOOST_AUTO_TEST_CASE(addresses_as_one_quadword) {
  GuestDriver guest;
  guest.place_bar(0xe000'0000);
  guest.negotiate();
  guest.set_mmio<std::uint64_t>(0x28, 0x1234'5678'9abc'def0);
  BOOST_TEST(guest.mmio<std::uint64_t>(0x28) == 0x1234'5678'9abc'def0U);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x2c) == 0x1234'5678U);
}

BOOST_AUTO_TEST_CASE(accesses_of_the_wrong_shape_change_nothing) {
  GuestDriver guest;
  guest.probe();
  const auto before = guest.console.function().counters().bad_accesses;
  guest.set_mmio<std::uint32_t>(0x14, 0);  // status is a byte
  guest.set_mmio<std::uint8_t>(0x16, 1);
  guest.set_mmio<std::uint16_t>(0x12, 1);
  guest.set_mmio<std::uint64_t>(0x34, 1);
  guest.set_mmio<std::uint32_t>(0x5000, 1);
  guest.set_mmio<std::uint16_t>(0x3018, 6);
  guest.set_mmio<std::uint16_t>(0x3002, 0);
  BOOST_TEST(guest.status() == 0xf);
  BOOST_TEST(guest.console.function().counters().bad_accesses == before + 7);
  BOOST_TEST(guest.mmio<std::uint32_t>(0x6000) == 0U);
}

BOOST_AUTO_TEST_CASE(notify_addresses_follow_the_bar) {
  GuestDriver guest;
  int rebinds = 0;
  VirtioPci& function = guest.console.function();
  std::optional<std::uint64_t> address;
  function.set_rebind_callback([&] {
    ++rebinds;
    address = function.notify_address(5);  // may be asked from the callback
  });
  guest.place_bar(0xe000'8000);
  BOOST_TEST(!address.has_value());  // not running yet
  guest.enable_msix();
  guest.start();
  BOOST_REQUIRE(address.has_value());
  BOOST_TEST(*address == 0xe000'8000U + 0x3000 + 20);
  guest.place_bar(0xe123'0000);
  BOOST_REQUIRE(address.has_value());
  BOOST_TEST(*address == 0xe123'0000U + 0x3000 + 20);
  BOOST_TEST(!function.notify_address(6).has_value());
  guest.place_bar(0xfee0'0000);  // over the local APIC: outside of the window
  BOOST_TEST(!address.has_value());
  guest.place_bar(0xe000'0000);
  const int before = rebinds;
  guest.set_mmio<std::uint8_t>(0x14, 0);
  BOOST_TEST(rebinds == before + 1);
  BOOST_TEST(!address.has_value());
}

BOOST_AUTO_TEST_CASE(notified_by_the_engine) {
  GuestDriver guest;
  VirtioPci& function = guest.console.function();
  BOOST_TEST(!function.handle_notify(1));
  guest.probe();
  guest.offer_output(1, 0, testing::bytes_of("engine"));
  BOOST_TEST(function.handle_notify(1));
  BOOST_TEST(guest.taken(0) == "engine");
  BOOST_TEST(!function.handle_notify(6));
  BOOST_TEST(!function.handle_notify(~0U));
  BOOST_TEST(function.counters().stray_notifies == 3U);
}

BOOST_AUTO_TEST_CASE(no_memory_access_without_bus_master) {
  GuestDriver guest;
  guest.probe();
  guest.set_config<std::uint16_t>(0x04, 2);
  guest.write_port(1, "later");
  BOOST_TEST(guest.queues[1].used_index() == 0);
  guest.set_config<std::uint16_t>(0x04, 6);  // picks up what it missed
  BOOST_TEST(guest.queues[1].used_index() == 1);
  BOOST_TEST(guest.taken(0) == "later");
}

// One vCPU moves the BAR, one resets and starts the device, the engine notifies and asks where to: whatever the order, a notify
// address lies where the BAR was put, and no call waits for another for good.
BOOST_AUTO_TEST_CASE(vcpus_and_engine_at_once) {
  GuestDriver guest;
  guest.probe();
  VirtioPci& function = guest.console.function();
  std::atomic<unsigned> wrong{0}, rebinds{0};
  std::atomic<bool> stop{false};
  function.set_rebind_callback([&] {
    rebinds.fetch_add(1);
    const auto address = function.notify_address(1);
    if (address && *address != 0xe000'8000U + 0x3004 && *address != 0xe100'0000U + 0x3004) wrong.fetch_add(1);
  });
  std::thread mover([&] {
    for (int i = 0; i < 500; ++i) {
      guest.set_config<std::uint32_t>(0x10, i % 2 == 0 ? 0xe100'0000U : 0xe000'8000U);
      guest.set_config<std::uint16_t>(0x04, i % 5 == 0 ? 4 : 6);
    }
    guest.set_config<std::uint32_t>(0x10, 0xe000'8000U);
    guest.set_config<std::uint16_t>(0x04, 6);
  });
  std::thread engine([&] {
    std::vector<std::byte> out;
    while (!stop) {
      function.handle_notify(1);
      function.notify_address(1);
      guest.console.take(0, out);
      (void)guest.console.send(0, testing::bytes_of("x"));
    }
  });
  for (int i = 0; i < 500; ++i) {
    guest.mmio<std::uint8_t>(0x14);
    guest.notify(1);
    guest.set_mmio<std::uint32_t>(0x402c, static_cast<std::uint32_t>(i % 2));
    if (i % 50 == 0) guest.set_mmio<std::uint8_t>(0x14, 0);
  }
  mover.join();
  stop = true;
  engine.join();
  guest.start();
  guest.write_port(1, "still works");
  BOOST_TEST(guest.taken(0).ends_with("still works"));
  BOOST_TEST(wrong == 0U);
  BOOST_TEST(rebinds > 0U);
}

BOOST_AUTO_TEST_CASE(saved_state) {
  GuestDriver guest;
  guest.probe();
  guest.write_port(1, "a");
  std::vector<std::byte> bytes(sizeof(VirtioPci::State));
  const VirtioPci& function = guest.console.function();
  BOOST_TEST(function.save(std::span(bytes).first(bytes.size() - 1)) == 0U);
  BOOST_REQUIRE(function.save(bytes) == bytes.size());
  VirtioPci::State state;
  std::memcpy(static_cast<void*>(&state), bytes.data(), sizeof state);
  BOOST_TEST(state.version == 1U);
  BOOST_TEST(state.status == 0xf);
  BOOST_TEST(state.queues == 6);
  BOOST_TEST(state.vectors == 7);
  BOOST_TEST(state.queue[1].taken == 1);
  BOOST_TEST(state.queue[1].used_index == 1);
  BOOST_TEST(state.queue[1].descriptors == guest.queues[1].layout().descriptors.value);
  BOOST_TEST(state.driver_features == 0x1'0000'0002U);
  std::uint32_t data = 0;
  std::memcpy(&data, state.msix.data() + 16 * 2 + 8, 4);
  BOOST_TEST(data == 0x42U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
