#include "vmm/queue_event.hpp"

#include <poll.h>
#include <unistd.h>

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "tests/tiny/tlv_receiver.hpp"
#include "tests/vmm/guest_driver.hpp"
#include "vmm/vm.hpp"

using namespace floe;
using namespace floe::vmm;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kQueue = VirtioConsole::kTlvTransmitQueue;

bool skip() {
  if (tiny::unavailable()) BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
  return tiny::unavailable().has_value();
}

std::unique_ptr<tiny::TlvReceiver> receiver(const tiny::TlvReceiver::Options& options) {
  auto made = tiny::TlvReceiver::create(options);
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

void check(const Result<>& received) {
  BOOST_TEST(received.has_value(), (received ? "" : received.error().message));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(queue_event)

// Two drivers' worth of starts and moves, on a VM that exists for its KVM_IOEVENTFD alone.
BOOST_AUTO_TEST_CASE(binding_follows_the_queue) {
  if (skip()) return;
  auto vm = Vm::create({.cpus = 1, .memory_bytes = 1 << 20});
  BOOST_REQUIRE(vm.has_value());
  testing::GuestDriver guest;
  auto event = QueueEvent::create((*vm)->fd(), guest.console.function(), kQueue);
  BOOST_REQUIRE(event.has_value());
  BOOST_TEST(!(*event)->bound_at().has_value());
  guest.probe();
  BOOST_TEST((*event)->bound_at().value_or(0) == guest.bar + 0x3000 + 4 * kQueue);
  guest.place_bar(0xe010'0000);
  BOOST_TEST((*event)->bound_at().value_or(0) == 0xe010'0000U + 0x3000 + 4 * kQueue);
  guest.set_config<std::uint16_t>(0x04, 4);  // memory decoding off
  BOOST_TEST(!(*event)->bound_at().has_value());
  guest.set_config<std::uint16_t>(0x04, 6);
  BOOST_TEST((*event)->bound_at().has_value());
  guest.set_mmio<std::uint8_t>(0x14, 0);  // reset
  BOOST_TEST(!(*event)->bound_at().has_value());
  guest.start();
  BOOST_TEST((*event)->bound_at().has_value());
  BOOST_TEST((*event)->refused() == 0u);
  // What is bound twice KVM refuses: the old binding must have gone with its owner.
  const std::uint64_t at = *(*event)->bound_at();
  event->reset();
  auto again = QueueEvent::create((*vm)->fd(), guest.console.function(), kQueue);
  BOOST_REQUIRE(again.has_value());
  BOOST_TEST((*again)->bound_at().value_or(0) == at);
  BOOST_TEST((*again)->refused() == 0u);
}

BOOST_AUTO_TEST_CASE(a_place_that_is_taken_leaves_exits) {
  if (skip()) return;
  auto vm = Vm::create({.cpus = 1, .memory_bytes = 1 << 20});
  BOOST_REQUIRE(vm.has_value());
  testing::GuestDriver guest, other;
  auto first = QueueEvent::create((*vm)->fd(), guest.console.function(), kQueue);
  auto second = QueueEvent::create((*vm)->fd(), other.console.function(), kQueue);
  BOOST_REQUIRE((first.has_value() && second.has_value()));
  guest.probe();
  other.probe();
  BOOST_TEST((*first)->bound_at().has_value());
  BOOST_TEST(!(*second)->bound_at().has_value());
  BOOST_TEST((*second)->refused() > 0u);
}

// Every frame of a guest at full speed arrives whole, once and in order; by_event says who served the queue.
BOOST_DATA_TEST_CASE(frames_arrive_in_order, boost::unit_test::data::make({false, true}) * boost::unit_test::data::make({1, 16, 1000}),
                     by_event, batch) {
  if (skip()) return;
  constexpr std::uint64_t kFrames = 3000;
  auto stream = receiver({.by_event = by_event, .batch = static_cast<std::uint64_t>(batch)});
  for (int round = 0; round < 2; ++round) check(stream->receive(kFrames));
  const std::uint64_t exits = stream->guest().vm().vcpu(0).counters().mmio.load();
  if (by_event) {
    BOOST_TEST(stream->events() >= 2 * kFrames / static_cast<std::uint64_t>(batch));
    BOOST_TEST(exits < 400u);  // the driver's set-up alone
  } else {
    BOOST_TEST(stream->events() == 0u);
    BOOST_TEST(exits >= 2 * kFrames / std::max(batch, 64));
  }
}

// A receiver that is slower than the guest holds the guest back: memory stays where it is, and nothing is lost.
BOOST_DATA_TEST_CASE(a_slow_receiver_makes_the_guest_wait, boost::unit_test::data::make({false, true}), by_event) {
  if (skip()) return;
  constexpr std::uint64_t kPayload = 2048, kFrameBytes = kPayload + 32;
  constexpr std::uint64_t kBuffer = VirtioConsole::Options().output_bytes;
  auto stream = receiver({.by_event = by_event, .payload_bytes = kPayload, .batch = 16, .patient = true});
  check(stream->receive(8 * kBuffer / kFrameBytes));
  const auto counters = stream->guest().pc().console().counters();
  BOOST_TEST(counters.port[VirtioConsole::kTlvPort].back_pressure > 0u);
  // What can be under way: the port's buffer and the queue, while what was taken is not decoded yet.
  BOOST_TEST(stream->most_ahead() <= (2 * kBuffer) / kFrameBytes + 2 * TINY_QUEUE_SIZE);
  BOOST_TEST(stream->most_ahead() > kBuffer / kFrameBytes / 2);  // the guest did run ahead: it was held back by the bound
  BOOST_TEST(stream->most_held() <= 8 * kBuffer);
}

// While nobody takes anything the guest comes to a stop, and goes on from there.
BOOST_DATA_TEST_CASE(a_receiver_that_stops_stops_the_guest, boost::unit_test::data::make({false, true}), by_event) {
  if (skip()) return;
  constexpr std::uint64_t kFrames = 200'000;  // 12.8 MB: far more than fits
  auto stream = receiver({.by_event = by_event, .batch = 16});
  tiny::Guest& guest = stream->guest();
  guest.set_parameter(0, &tiny_parameters::frame_limit, kFrames);
  guest.set_mode(0, TINY_FRAMES);
  const auto sent = [&guest] { return guest.status(0, &tiny_status::sent); };
  const auto stands = [&] {
    if (by_event && guest.pc().tlv_event()->bound_at()) guest.pc().tlv_event()->serve();  // the engine that serves, but takes nothing
    return guest.pc().console().counters().port[VirtioConsole::kTlvPort].back_pressure > 0;
  };
  BOOST_REQUIRE(tiny::Guest::wait(stands));
  constexpr std::uint64_t kBuffer = VirtioConsole::Options().output_bytes;
  std::this_thread::sleep_for(5ms);  // in which it could send more
  BOOST_TEST(sent() > kBuffer / 64);
  BOOST_TEST(sent() <= kBuffer / 64 + TINY_QUEUE_SIZE);
  BOOST_TEST(guest.pc().console().pending_output(VirtioConsole::kTlvPort) <= kBuffer);
  check(stream->receive(kFrames));
}

BOOST_AUTO_TEST_SUITE_END()
