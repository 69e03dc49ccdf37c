#include "vmm/virtio_console.hpp"

#include <random>
#include <thread>

#include "tests/vmm/guest_driver.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm {
namespace {

using testing::bytes_of;
using testing::GuestDriver;
using testing::kDescNext;
using testing::kDescWrite;
using testing::text_of;

constexpr unsigned kTx0 = 1, kControlRx = 2, kControlTx = 3, kRx1 = 4, kTx1 = 5;

struct Fixture {
  GuestDriver guest;
  VirtioConsole& console = guest.console;
  Fixture() { guest.probe(); }
};

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(virtio_console, Fixture)

BOOST_AUTO_TEST_CASE(handshake) {
  using Control = GuestDriver::Control;
  using List = std::vector<Control>;
  guest.post_control_buffers();
  BOOST_TEST(guest.take_control().empty());
  guest.control(0xffff'ffff, 0, 1);
  BOOST_TEST(guest.take_control() == (List{{0, 1, 1, ""}, {1, 1, 1, ""}}), boost::test_tools::per_element());
  guest.control(0, 3, 1);
  BOOST_TEST(guest.take_control() == (List{{0, 4, 1, ""}, {0, 7, 1, "floe-console"}, {0, 6, 1, ""}}), boost::test_tools::per_element());
  guest.control(1, 3, 1);
  BOOST_TEST(guest.take_control() == (List{{1, 7, 1, "floe-tlv"}, {1, 6, 1, ""}}), boost::test_tools::per_element());
  BOOST_TEST(!console.guest_open(1));
  guest.control(1, 6, 1);
  BOOST_TEST(console.guest_open(1));
  guest.control(1, 6, 0);
  BOOST_TEST(!console.guest_open(1));
  BOOST_TEST(console.guest_open(0));
  BOOST_TEST(guest.take_control().empty());
}

BOOST_AUTO_TEST_CASE(handshake_waits_for_buffers) {
  guest.control(0xffff'ffff, 0, 1);
  guest.control(1, 3, 1);
  guest.post_control_buffers();
  const auto messages = guest.take_control();
  BOOST_REQUIRE_EQUAL(messages.size(), 4U);
  BOOST_TEST(messages[2].name == "floe-tlv");
  BOOST_TEST(messages[3].event == 6);
}

BOOST_AUTO_TEST_CASE(repeated_handshake_steps_queue_nothing) {
  for (int i = 0; i < 1000; ++i) {
    guest.control(0, 0, 1);
    guest.control(1, 3, 1);
  }
  guest.post_control_buffers();
  BOOST_TEST(guest.take_control().size() == 4U);
  BOOST_TEST(console.counters().repeated_control == 1998U);
}

BOOST_AUTO_TEST_CASE(odd_control_messages_are_counted) {
  guest.control(1, 3, 0);  // the driver failed to set the port up
  guest.control(2, 3, 1);  // no such port
  guest.control(1, 3, 7);  // no such value
  guest.control(1, 6, 2);
  guest.control(0, 0, 0);   // not ready
  guest.control(0, 99, 1);  // no such event
  guest.control(0xffff, 6, 1);
  guest.offer_output(kControlTx, 0, bytes_of("short"));
  guest.notify(kControlTx);
  const auto counters = console.counters();
  BOOST_TEST(counters.failed_ports == 1U);
  BOOST_TEST(counters.unknown_control == 6U);
  BOOST_TEST(counters.short_control == 1U);
  guest.post_control_buffers();
  BOOST_TEST(guest.take_control().empty());
}

BOOST_AUTO_TEST_CASE(control_message_in_pieces) {
  guest.post_control_buffers();
  const std::uint8_t message[8] = {1, 0, 0, 0, 6, 0, 1, 0};
  BOOST_REQUIRE(guest.ram->write(Gpa(GuestDriver::kBuffers), std::as_bytes(std::span(message))));
  for (std::uint16_t i = 0; i < 8; ++i)
    guest.queues[kControlTx].put(i, GuestDriver::kBuffers + i, 1, i < 7 ? kDescNext : 0, static_cast<std::uint16_t>(i + 1));
  guest.queues[kControlTx].offer(0);
  guest.notify(kControlTx);
  BOOST_TEST(console.guest_open(1));
}

BOOST_AUTO_TEST_CASE(guest_to_host_on_both_ports) {
  guest.handshake();
  guest.wakes = 0;
  guest.write_port(kTx0, "console line\n");
  BOOST_TEST(guest.wakes == 1);
  guest.write_port(kTx1, "frame");
  guest.write_port(kTx1, "s");
  BOOST_TEST(guest.taken(0) == "console line\n");
  BOOST_TEST(guest.taken(1) == "frames");
  BOOST_TEST(guest.taken(1).empty());
  BOOST_TEST(guest.wakes == 3);
  BOOST_TEST(guest.taken(2).empty());
}

BOOST_AUTO_TEST_CASE(used_length_of_output_is_zero) {
  guest.offer_output(kTx1, 9, bytes_of("abc"));
  guest.notify(kTx1);
  const auto used = guest.queues[kTx1].take_used();
  BOOST_REQUIRE(used.has_value());
  BOOST_TEST(used->head == 9U);
  BOOST_TEST(used->written == 0U);
}

BOOST_AUTO_TEST_CASE(host_to_guest_waits_for_buffers_and_for_the_open) {
  guest.handshake();
  guest.control(1, 6, 0);
  BOOST_TEST(console.send(1, bytes_of("hello ")));
  BOOST_TEST(console.send(1, bytes_of("guest")));
  guest.offer_input(kRx1, 0, 8);
  guest.notify(kRx1);
  BOOST_TEST(guest.queues[kRx1].used_index() == 0);  // nobody has the port open
  guest.control(1, 6, 1);
  auto used = guest.queues[kRx1].take_used();
  BOOST_REQUIRE(used.has_value());
  BOOST_TEST(guest.input_text(kRx1, *used) == "hello gu");
  BOOST_TEST(console.pending_input(1) == 3U);
  guest.offer_input(kRx1, 1, 8);
  guest.notify(kRx1);
  used = guest.queues[kRx1].take_used();
  BOOST_REQUIRE(used.has_value());
  BOOST_TEST(guest.input_text(kRx1, *used) == "est");
  BOOST_TEST(console.pending_input(1) == 0U);
  guest.offer_input(kRx1, 2, 8);
  guest.notify(kRx1);
  BOOST_TEST(!guest.queues[kRx1].take_used().has_value());
  const int before = guest.sink.count(kRx1 + 1);
  BOOST_TEST(console.send(1, bytes_of("!")));  // straight into the waiting buffer
  BOOST_TEST(guest.sink.count(kRx1 + 1) == before + 1);
  BOOST_TEST(guest.input_text(kRx1, *guest.queues[kRx1].take_used()) == "!");
}

BOOST_AUTO_TEST_CASE(port_0_needs_no_open) {
  guest.offer_input(0, 0, 16);
  guest.notify(0);
  BOOST_TEST(console.send(0, bytes_of("key")));
  BOOST_TEST(guest.input_text(0, *guest.queues[0].take_used()) == "key");
}

BOOST_AUTO_TEST_CASE(torn_input_chains_lose_nothing) {
  guest.handshake();
  BOOST_TEST(console.send(1, bytes_of("kept")));
  guest.queues[kRx1].put(0, GuestDriver::kBuffers, 16);  // readable: cannot take a byte
  guest.queues[kRx1].offer(0);
  guest.queues[kRx1].put(1, GuestDriver::kBuffers, 0, kDescWrite);
  guest.queues[kRx1].offer(1);
  guest.notify(kRx1);
  for (int i = 0; i < 2; ++i) {
    const auto used = guest.queues[kRx1].take_used();
    BOOST_REQUIRE(used.has_value());
    BOOST_TEST(used->written == 0U);
  }
  BOOST_TEST(console.pending_input(1) == 4U);
  BOOST_TEST(console.counters().port[1].torn_input_chains == 2U);
  guest.offer_input(kRx1, 2, 16);
  guest.notify(kRx1);
  BOOST_TEST(guest.input_text(kRx1, *guest.queues[kRx1].take_used()) == "kept");
}

BOOST_AUTO_TEST_CASE(input_is_bounded) {
  const std::string half = pattern(512U << 10);
  BOOST_TEST(console.send(1, bytes_of(half)));
  BOOST_TEST(console.send(1, bytes_of(half)));
  BOOST_TEST(!console.send(1, bytes_of("x")));
  BOOST_TEST(console.send(1, {}));
  BOOST_TEST(!console.send(2, bytes_of("x")));
  BOOST_TEST(console.pending_input(1) == 1U << 20);
  BOOST_TEST(console.counters().port[1].refused_sends == 1U);
}

BOOST_AUTO_TEST_CASE(input_larger_than_a_call_may_fill) {
  guest.handshake();
  const std::string text = pattern(200);
  BOOST_TEST(console.send(1, bytes_of(text)));
  for (std::uint16_t slot = 0; slot < 64; ++slot) guest.offer_input(kRx1, slot, 1);
  guest.notify(kRx1);
  std::string got;
  for (int round = 0; round < 10 && got.size() < text.size(); ++round) {
    while (const auto used = guest.queues[kRx1].take_used()) {
      got += guest.input_text(kRx1, *used);
      guest.queues[kRx1].offer(static_cast<std::uint16_t>(used->head));
    }
    console.service();
    guest.notify(kRx1);
  }
  BOOST_TEST(got == text);
}

BOOST_AUTO_TEST_CASE(service_looks_without_a_notify) {
  guest.handshake();
  BOOST_TEST(console.send(1, bytes_of("poll")));
  guest.offer_input(kRx1, 0, 16);
  guest.offer_output(kTx1, 1, bytes_of("ed"));
  console.service();
  BOOST_TEST(guest.input_text(kRx1, *guest.queues[kRx1].take_used()) == "poll");
  BOOST_TEST(guest.taken(1) == "ed");
}

BOOST_AUTO_TEST_CASE(a_full_buffer_holds_the_guest_back) {
  GuestDriver small({.output_bytes = Virtqueue::kMaxChainBytes, .input_bytes = 16});
  small.probe();
  const std::string text = pattern(60'000);
  std::string sent, got;
  for (std::uint16_t slot = 0; slot < 8; ++slot) {
    small.offer_output(kTx1, slot, bytes_of(text));
    sent += text;
  }
  small.notify(kTx1);
  BOOST_TEST(small.queues[kTx1].used_index() == 4);  // 4 x 60000 fit 256 KiB
  small.notify(kTx1);
  small.notify(kTx1);
  BOOST_TEST(small.queues[kTx1].used_index() == 4);
  BOOST_TEST(small.console.pending_output(1) == 240'000U);
  BOOST_TEST(small.console.counters().port[1].back_pressure >= 2U);
  small.wakes = 0;
  got += small.taken(1);
  BOOST_TEST(small.queues[kTx1].used_index() == 8);  // without another notify
  BOOST_TEST(small.wakes == 1);
  got += small.taken(1);
  BOOST_TEST((got == sent));
}

BOOST_AUTO_TEST_CASE(one_call_copies_a_bounded_amount) {
  const std::string text = pattern(60'000);
  for (std::uint16_t slot = 0; slot < 10; ++slot) guest.offer_output(kTx1, slot, bytes_of(text));
  guest.notify(kTx1);
  BOOST_TEST(guest.queues[kTx1].used_index() == 4);
  BOOST_TEST(guest.wakes == 1);
  BOOST_TEST(console.counters().deferred_calls == 1U);
  console.service();
  BOOST_TEST(guest.queues[kTx1].used_index() == 8);
  BOOST_TEST(guest.wakes == 2);
  std::size_t total = guest.taken(1).size();
  total += guest.taken(1).size();
  BOOST_TEST(total == 600'000U);
}

BOOST_AUTO_TEST_CASE(empty_chains_wake_nobody_and_are_bounded) {
  guest.wakes = 0;
  for (std::uint16_t slot = 0; slot < 64; ++slot) guest.offer_output(kTx1, slot, {});
  guest.notify(kTx1);
  BOOST_TEST(guest.queues[kTx1].used_index() == 64);
  BOOST_TEST(guest.sink.count(kTx1 + 1) == 1);  // the driver gets its buffers back with one interrupt
  BOOST_TEST(guest.wakes == 0);
  BOOST_TEST(console.counters().port[1].empty_output_chains == 64U);
  for (std::uint16_t slot = 0; slot < 64; ++slot) guest.offer_output(kControlTx, slot, {});
  guest.notify(kControlTx);
  BOOST_TEST(guest.queues[kControlTx].used_index() == 32);
  BOOST_TEST(guest.wakes == 1);  // to be continued
  console.service();
  BOOST_TEST(guest.queues[kControlTx].used_index() == 64);
}

BOOST_AUTO_TEST_CASE(writable_buffers_in_output_are_left_alone) {
  BOOST_REQUIRE(guest.ram->write(Gpa(GuestDriver::kBuffers), bytes_of("data....")));
  guest.queues[kTx1].put(0, GuestDriver::kBuffers, 4, kDescNext, 1);
  guest.queues[kTx1].put(1, GuestDriver::kBuffers + 4, 4, kDescWrite);
  guest.queues[kTx1].offer(0);
  guest.notify(kTx1);
  BOOST_TEST(guest.taken(1) == "data");
  BOOST_TEST(text_of(guest.ram->slice(Gpa(GuestDriver::kBuffers + 4), 4)) == "....");
  BOOST_TEST(console.counters().port[1].odd_chains == 1U);
}

BOOST_AUTO_TEST_CASE(bytes_without_a_notify_arrive_at_reset) {
  guest.handshake();
  guest.offer_output(kTx1, 0, bytes_of("last "));
  guest.offer_output(kTx1, 1, bytes_of("words"));
  guest.offer_output(kTx0, 2, bytes_of("bye"));
  guest.wakes = 0;
  const int interrupts = guest.sink.count(kTx1 + 1);
  guest.set_mmio<std::uint8_t>(0x14, 0);
  BOOST_TEST(guest.wakes == 0);
  BOOST_TEST(guest.sink.count(kTx1 + 1) == interrupts);
  BOOST_TEST(!console.guest_open(1));
  BOOST_TEST(guest.taken(1) == "last words");
  BOOST_TEST(guest.taken(0) == "bye");
}

BOOST_AUTO_TEST_CASE(a_broken_chain_at_reset_interrupts_nobody) {
  guest.offer_output(kTx1, 0, bytes_of("good"));
  guest.queues[kTx1].put(1, ~std::uint64_t{0}, 4);
  guest.queues[kTx1].offer(1);
  guest.set_mmio<std::uint8_t>(0x14, 0);
  BOOST_TEST(guest.sink.count(0) == 0);
  BOOST_TEST(guest.status() == 0);
  BOOST_TEST(guest.taken(1) == "good");
}

BOOST_AUTO_TEST_CASE(a_reset_loop_cannot_grow_the_buffer) {
  const std::string text = pattern(60'000);
  for (int round = 0; round < 8; ++round) {
    guest.start();
    for (std::uint16_t slot = 0; slot < 64; ++slot) guest.offer_output(kTx1, slot % 8, bytes_of(text));
    guest.set_mmio<std::uint8_t>(0x14, 0);
  }
  BOOST_TEST(console.pending_output(1) <= (1U << 20) + VirtioConsole::kResetRoom);
  const auto port = console.counters().port[1];
  BOOST_TEST(port.lost_at_reset_chains + port.output_chains == 8U * 64);
}

BOOST_AUTO_TEST_CASE(final_drain_reads_what_is_left) {
  guest.write_port(kTx1, "one ");
  guest.offer_output(kTx1, 1, bytes_of("two"));
  std::vector<std::byte> out;
  const int interrupts = guest.sink.count(kTx1 + 1);
  BOOST_TEST(console.final_drain(1, out) == 7U);
  BOOST_TEST(text_of(out) == "one two");
  BOOST_TEST(guest.sink.count(kTx1 + 1) == interrupts);
  BOOST_TEST(console.final_drain(1, out) == 0U);
  BOOST_TEST(console.final_drain(7, out) == 0U);
}

BOOST_AUTO_TEST_CASE(no_queue_is_touched_before_driver_ok) {
  GuestDriver early;
  early.place_bar(0xe000'0000);
  early.negotiate();
  early.set_queues();
  early.offer_output(kTx0, 0, bytes_of("x"));
  early.notify(kTx0);
  early.console.service();
  std::vector<std::byte> out;
  BOOST_TEST(early.console.final_drain(0, out) == 0U);
  BOOST_TEST(early.queues[kTx0].used_index() == 0);
  early.set_mmio<std::uint8_t>(0x14, 0xf);
  BOOST_TEST(early.taken(0) == "x");  // and picked up then
}

BOOST_AUTO_TEST_CASE(without_multiport_only_port_0_works) {
  GuestDriver plain;
  plain.place_bar(0xe000'0000);
  plain.negotiate(std::uint64_t{1} << 32);
  plain.set_queues();
  plain.set_mmio<std::uint8_t>(0x14, 0xf);
  plain.write_port(kTx0, "hvc");
  plain.write_port(kTx1, "no");
  plain.control(1, 6, 1);
  plain.console.service();
  BOOST_TEST(plain.taken(0) == "hvc");
  BOOST_TEST(plain.taken(1).empty());
  BOOST_TEST(plain.queues[kTx1].used_index() == 0);
  BOOST_TEST(!plain.console.guest_open(1));
  BOOST_TEST(plain.console.counters().stray_queues >= 2U);
}

BOOST_AUTO_TEST_CASE(a_second_driver_starts_afresh) {
  guest.handshake();
  BOOST_TEST(console.send(1, bytes_of("for the next")));
  guest.start();
  BOOST_TEST(!console.guest_open(1));
  guest.handshake();
  guest.offer_input(kRx1, 0, 64);
  guest.notify(kRx1);
  BOOST_TEST(guest.input_text(kRx1, *guest.queues[kRx1].take_used()) == "for the next");
}

BOOST_AUTO_TEST_CASE(configuration_is_read_only) {
  guest.set_mmio<std::uint32_t>(0x2004, 99);
  guest.set_mmio<std::uint32_t>(0x2008, 'x');
  BOOST_TEST(guest.mmio<std::uint32_t>(0x2004) == 2U);
  BOOST_TEST(console.counters().config_writes == 2U);
  BOOST_TEST(guest.taken(0).empty());
}

BOOST_AUTO_TEST_CASE(memory_of_a_drained_buffer_is_given_back) {
  const std::string text = pattern(60'000);
  std::vector<std::byte> out;
  for (int round = 0; round < 3; ++round) {
    for (std::uint16_t slot = 0; slot < 8; ++slot) guest.offer_output(kTx1, slot, bytes_of(text));
    guest.notify(kTx1);
    console.service();
    console.take(1, out);
  }
  BOOST_TEST(out.size() == 480'000U);
  console.take(1, out);
  BOOST_TEST(out.capacity() <= VirtioConsole::kKeptCapacity);
}

BOOST_AUTO_TEST_CASE(saved_state) {
  guest.handshake();
  BOOST_TEST(console.send(1, bytes_of("four")));
  guest.write_port(kTx0, "seven..");
  std::vector<std::byte> bytes(sizeof(VirtioConsole::State));
  BOOST_TEST(console.save(std::span(bytes).first(100)) == 0U);
  BOOST_REQUIRE(console.save(bytes) == bytes.size());
  VirtioConsole::State state;
  std::memcpy(static_cast<void*>(&state), bytes.data(), sizeof state);
  BOOST_TEST(state.port[1].pending_input == 4U);
  BOOST_TEST(state.port[0].pending_output == 7U);
  BOOST_TEST(state.port[1].guest_open == 1);
  BOOST_TEST(state.multiport == 1);
  BOOST_TEST(state.pci.queue[kControlRx].taken == 7);
  BOOST_TEST(state.pci.queue[kTx0].used_index == 1);
}

// Noise first, then frames, all through the port: the codec on top finds the frames, nothing is lost on the way.
BOOST_AUTO_TEST_CASE(frames_behind_noise_through_the_port) {
  guest.handshake();
  wire::Decoder decoder;
  std::uint64_t sent = 0, frames = 0;
  std::vector<std::byte> out;
  const auto pump = [&] {
    while (console.take(1, out) != 0) {
      decoder.feed(out);
      while (decoder.next()) ++frames;
    }
  };
  std::mt19937_64 random(3);
  std::vector<std::byte> block(32U << 10);  // what one write() of the guest's driver carries
  const auto push = [&] {
    guest.offer_output(kTx1, 0, block);
    guest.notify(kTx1);
    sent += block.size();
  };
  for (int i = 0; i < 256; ++i) {
    for (std::byte& byte : block) byte = static_cast<std::byte>(random());
    push();
    if (i % 7 == 0) pump();
  }
  wire::Encoder encoder;
  for (int i = 0; i < 100; ++i) {
    block.clear();
    BOOST_REQUIRE(encoder.encode(wire::kLogLine, bytes_of(pattern(static_cast<std::size_t>(i) * 100)), block));
    push();
    pump();
  }
  BOOST_TEST(frames == 100U);
  BOOST_TEST(decoder.stats().garbage_bytes == 256U * (32U << 10));
  BOOST_TEST(decoder.stats().sequence_gaps == 0U);
  BOOST_TEST(console.counters().port[1].output_bytes == sent);
}

// A vCPU thread that writes and notifies, the host thread that takes and sends: every byte arrives once, in order.
BOOST_AUTO_TEST_CASE(both_directions_from_two_threads) {
  guest.handshake();
  constexpr unsigned kMessages = 2000;
  std::atomic<bool> done{false};
  std::string echoed;
  std::thread vcpu([&] {
    std::uint16_t free_slots = 8;
    for (std::uint16_t slot = 0; slot < 16; ++slot) guest.offer_input(kRx1, slot, 64);
    guest.notify(kRx1);
    const auto read_input = [&] {
      while (const auto used = guest.queues[kRx1].take_used()) {
        echoed += guest.input_text(kRx1, *used);
        guest.queues[kRx1].offer(static_cast<std::uint16_t>(used->head));
        guest.notify(kRx1);
      }
    };
    for (unsigned i = 0; i < kMessages; ++i) {
      while (free_slots == 0) {
        if (guest.queues[kTx1].take_used()) ++free_slots;
        read_input();
        std::this_thread::yield();
      }
      --free_slots;
      const std::uint64_t at = GuestDriver::kBuffers + 64 * (i % 8);
      std::memcpy(guest.ram->slice(Gpa(at), 4).data(), &i, 4);
      guest.queues[kTx1].put(static_cast<std::uint16_t>(i % 8), at, 4);
      guest.queues[kTx1].offer(static_cast<std::uint16_t>(i % 8));
      guest.notify(kTx1);
    }
    while (echoed.size() < 4 * kMessages) {
      read_input();
      std::this_thread::yield();
    }
    done = true;
  });
  std::string received;
  std::vector<std::byte> out;
  while (!done) {
    if (console.take(1, out) == 0) {
      std::this_thread::yield();
      continue;
    }
    received += text_of(out);
    while (!console.send(1, out)) std::this_thread::yield();
  }
  vcpu.join();
  std::string expected;
  for (unsigned i = 0; i < kMessages; ++i) expected.append(static_cast<const char*>(static_cast<const void*>(&i)), 4);
  BOOST_TEST((received == expected));
  BOOST_TEST((echoed == expected));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
