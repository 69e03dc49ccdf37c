// What a guest's drivers do, for the tests: finds functions through config space, places BARs, sets virtqueues up in guest RAM
// and moves buffers through them. It talks to the device models only as a guest can: registers and memory.
#pragma once

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/layout.hpp"
#include "vmm/pci.hpp"
#include "vmm/ram.hpp"
#include "vmm/virtio_console.hpp"
#include "vmm/virtio_pci.hpp"

namespace floe::vmm::testing {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string text_of(std::span<const std::byte> bytes) {
  return {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()};
}

template <class T>
T read_register(RegisterDevice& device, std::uint64_t offset) {
  std::array<std::byte, sizeof(T)> data;
  device.read(offset, data);
  T value;
  std::memcpy(&value, data.data(), sizeof value);
  return value;
}

template <class T>
void write_register(RegisterDevice& device, std::uint64_t offset, T value) {
  std::array<std::byte, sizeof(T)> data;
  std::memcpy(data.data(), &value, sizeof value);
  device.write(offset, data);
}

// Counts what a function raises.
class RecordingSink final : public MsiSink {
 public:
  void route(unsigned vector, MsiMessage message) override {
    ++route_calls;
    routes[vector] = message;
  }
  void trigger(unsigned vector) override {
    if (vector < fired.size()) fired[vector].fetch_add(1);
  }
  int count(unsigned vector) const { return fired[vector].load(); }

  int route_calls = 0;
  std::map<unsigned, MsiMessage> routes;  // written under the function's lock
  std::array<std::atomic<int>, 64> fired{};
};

inline constexpr std::uint16_t kDescNext = 1, kDescWrite = 2, kDescIndirect = 4;

// The driver's half of one split virtqueue.
class GuestQueue {
 public:
  GuestQueue() = default;
  GuestQueue(GuestRam& ram, std::uint64_t base, std::uint16_t size) : ram_(&ram), base_(base), size_(size) {}

  Virtqueue::Layout layout() const { return {size_, Gpa(base_), Gpa(base_ + 0x4000), Gpa(base_ + 0x8000)}; }
  std::uint16_t size() const { return size_; }

  void put(std::uint16_t index, std::uint64_t address, std::uint32_t length, std::uint16_t flags = 0, std::uint16_t next = 0) {
    std::byte* at = host(base_ + std::uint64_t{16} * index, 16);
    std::memcpy(at, &address, 8);
    std::memcpy(at + 8, &length, 4);
    std::memcpy(at + 12, &flags, 2);
    std::memcpy(at + 14, &next, 2);
  }
  // Makes the chain that starts at `head` available.
  void offer(std::uint16_t head) {
    std::memcpy(host(base_ + 0x4000 + 4 + std::uint64_t{2} * (available_ % size_), 2), &head, 2);
    set_available(static_cast<std::uint16_t>(available_ + 1));
  }
  void set_available(std::uint16_t index) {
    available_ = index;
    __atomic_store_n(word(base_ + 0x4002), index, __ATOMIC_RELEASE);
  }
  void suppress_interrupts(bool on) { __atomic_store_n(word(base_ + 0x4000), on ? 1 : 0, __ATOMIC_RELAXED); }
  std::uint16_t used_index() const { return __atomic_load_n(word(base_ + 0x8002), __ATOMIC_ACQUIRE); }

  struct Used {
    std::uint32_t head = 0, written = 0;
  };
  std::optional<Used> take_used() {
    if (used_index() == seen_) return std::nullopt;
    Used used;
    std::memcpy(&used, host(base_ + 0x8000 + 4 + std::uint64_t{8} * (seen_ % size_), 8), 8);
    ++seen_;
    return used;
  }

 private:
  std::byte* host(std::uint64_t gpa, std::size_t bytes) const { return ram_->slice(Gpa(gpa), bytes).data(); }
  std::uint16_t* word(std::uint64_t gpa) const { return static_cast<std::uint16_t*>(static_cast<void*>(host(gpa, 2))); }

  GuestRam* ram_ = nullptr;
  std::uint64_t base_ = 0;
  std::uint16_t size_ = 0;
  std::uint16_t available_ = 0, seen_ = 0;
};

// One machine with a console at 00:01.0, and the kernel's driver for it.
class GuestDriver {
 public:
  static constexpr std::uint64_t kFunction = 1U << 15;  // of 00:01.0 in ECAM
  static constexpr std::uint64_t kBuffers = 0x40'0000;  // guest memory for data
  static constexpr unsigned kQueueBytes = 0x1'0000;

  explicit GuestDriver(VirtioConsole::Options options = {})
      : ram(GuestRam::create(16U << 20).value()), console(*ram, sink, options), pci(layout::kPciWindow, layout::kPciWindowBytes) {
    BOOST_REQUIRE(pci.add(1, console.function()));
    console.set_output_callback([this] { wakes.fetch_add(1); });
  }

  template <class T>
  T config(std::uint64_t offset) {
    return read_register<T>(pci.ecam(), kFunction + offset);
  }
  template <class T>
  void set_config(std::uint64_t offset, T value) {
    write_register<T>(pci.ecam(), kFunction + offset, value);
  }
  template <class T>
  T mmio(std::uint64_t offset) {
    return read_register<T>(pci.window(), bar - layout::kPciWindow + offset);
  }
  template <class T>
  void set_mmio(std::uint64_t offset, T value) {
    write_register<T>(pci.window(), bar - layout::kPciWindow + offset, value);
  }

  void place_bar(std::uint32_t address) {
    bar = address;
    set_config<std::uint32_t>(0x10, address);
    set_config<std::uint16_t>(0x04, 6);
  }
  void enable_msix() {
    set_config<std::uint16_t>(0x84 + 2, 0xc000);
    for (unsigned vector = 0; vector < 7; ++vector) {
      set_mmio<std::uint32_t>(0x4000 + 16 * vector, 0xfee0'0000 + (vector << 12));
      set_mmio<std::uint32_t>(0x4004 + 16 * vector, 0);
      set_mmio<std::uint32_t>(0x4008 + 16 * vector, 0x40 + vector);
      set_mmio<std::uint32_t>(0x400c + 16 * vector, 0);
    }
    set_config<std::uint16_t>(0x84 + 2, 0x8000);
  }
  void negotiate(std::uint64_t features = std::uint64_t{1} << 32 | 2) {
    set_mmio<std::uint8_t>(0x14, 0);
    set_mmio<std::uint8_t>(0x14, 1);
    set_mmio<std::uint8_t>(0x14, 3);
    for (std::uint32_t half = 0; half < 2; ++half) {
      set_mmio<std::uint32_t>(0x08, half);
      set_mmio<std::uint32_t>(0x0c, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    set_mmio<std::uint8_t>(0x14, 0xb);
  }
  void set_queue(std::uint16_t index, const Virtqueue::Layout& layout) {
    set_mmio<std::uint16_t>(0x16, index);
    set_mmio<std::uint16_t>(0x18, layout.size);
    set_mmio<std::uint16_t>(0x1a, static_cast<std::uint16_t>(index + 1));
    const std::uint64_t addresses[3] = {layout.descriptors.value, layout.available.value, layout.used.value};
    for (unsigned i = 0; i < 3; ++i) {
      set_mmio<std::uint32_t>(0x20 + 8 * i, static_cast<std::uint32_t>(addresses[i]));
      set_mmio<std::uint32_t>(0x24 + 8 * i, static_cast<std::uint32_t>(addresses[i] >> 32));
    }
    set_mmio<std::uint16_t>(0x1c, 1);
  }
  void set_queues(unsigned count = VirtioConsole::kQueues) {
    for (unsigned i = 0; i < count; ++i) {
      const std::uint64_t base = 0x10'0000 + std::uint64_t{kQueueBytes} * i;
      const auto rings = ram->slice(Gpa(base), kQueueBytes);
      std::fill(rings.begin(), rings.end(), std::byte{0});
      queues[i] = GuestQueue(*ram, base, 64);
      set_queue(static_cast<std::uint16_t>(i), queues[i].layout());
    }
  }
  // From nothing to DRIVER_OK, as Linux does it.
  void probe() {
    place_bar(0xe000'8000);
    enable_msix();
    start();
  }
  void start() {
    negotiate();
    set_mmio<std::uint16_t>(0x10, 0);
    set_queues();
    set_mmio<std::uint8_t>(0x14, 0xf);
    BOOST_REQUIRE_EQUAL(status(), 0xf);
  }
  std::uint8_t status() { return mmio<std::uint8_t>(0x14); }
  void notify(unsigned queue) { set_mmio<std::uint16_t>(0x3000 + 4 * queue, static_cast<std::uint16_t>(queue)); }

  // Offers `text` as one chain of one descriptor in slot `slot`; the data sits in a 64 KiB place of its own.
  void offer_output(unsigned queue, std::uint16_t slot, std::span<const std::byte> text) {
    const std::uint64_t at = kBuffers + std::uint64_t{0x1'0000} * slot;
    BOOST_REQUIRE(ram->write(Gpa(at), text));
    queues[queue].put(slot, at, static_cast<std::uint32_t>(text.size()));
    queues[queue].offer(slot);
  }
  void write_port(unsigned queue, std::string_view text) {
    offer_output(queue, 0, bytes_of(text));
    notify(queue);
    while (queues[queue].take_used()) {
    }
  }
  void offer_input(unsigned queue, std::uint16_t slot, std::uint32_t bytes) {
    queues[queue].put(slot, input_address(queue, slot), bytes, kDescWrite);
    queues[queue].offer(slot);
  }
  std::uint64_t input_address(unsigned queue, std::uint16_t slot) const { return 0x90'0000 + 0x8'0000 * (queue / 2) + 0x1000 * slot; }
  std::string input_text(unsigned queue, const GuestQueue::Used& used) {
    return text_of(ram->slice(Gpa(input_address(queue, static_cast<std::uint16_t>(used.head))), used.written));
  }

  void control(std::uint32_t port, std::uint16_t event, std::uint16_t value) {
    std::array<std::byte, 8> message;
    std::memcpy(message.data(), &port, 4);
    std::memcpy(message.data() + 4, &event, 2);
    std::memcpy(message.data() + 6, &value, 2);
    offer_output(3, 0, message);
    notify(3);
    while (queues[3].take_used()) {
    }
  }
  struct Control {
    std::uint32_t port = 0;
    std::uint16_t event = 0, value = 0;
    std::string name;
    bool operator==(const Control&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Control& c) {
      return out << c.port << '/' << c.event << '/' << c.value << '/' << c.name;
    }
  };
  // All control messages that arrived; each buffer is posted again.
  std::vector<Control> take_control() {
    std::vector<Control> messages;
    while (const auto used = queues[2].take_used()) {
      const std::string bytes = input_text(2, *used);
      BOOST_REQUIRE_GE(bytes.size(), 8U);
      Control message;
      std::memcpy(&message.port, bytes.data(), 4);
      std::memcpy(&message.event, bytes.data() + 4, 2);
      std::memcpy(&message.value, bytes.data() + 6, 2);
      message.name = bytes.substr(8);
      messages.push_back(std::move(message));
      queues[2].offer(static_cast<std::uint16_t>(used->head));
      notify(2);
    }
    return messages;
  }
  void post_control_buffers() {
    for (std::uint16_t slot = 0; slot < 64; ++slot) offer_input(2, slot, 4096);
    notify(2);
  }
  // The whole multiport handshake; port 1 open afterwards.
  void handshake() {
    post_control_buffers();
    control(0xffff'ffff, 0, 1);
    control(0, 3, 1);
    control(1, 3, 1);
    control(1, 6, 1);
    take_control();
  }
  std::string taken(unsigned port) {
    std::vector<std::byte> out;
    console.take(port, out);
    return text_of(out);
  }

  std::unique_ptr<GuestRam> ram;
  RecordingSink sink;
  VirtioConsole console;
  PciHost pci;
  std::uint64_t bar = 0;
  std::array<GuestQueue, VirtioConsole::kQueues> queues;
  std::atomic<int> wakes{0};
};

}  // namespace floe::vmm::testing
