// A hostile driver: guest memory and register accesses of its choice against the PCI host, the virtio transport, the console and
// the queues behind it. The input is a script of steps (see `Step`). Nothing may crash; what the counters must add up to is
// checked; memory stays within its bounds.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "vmm/layout.hpp"
#include "vmm/pci.hpp"
#include "vmm/ram.hpp"
#include "vmm/virtio_console.hpp"

namespace {

using namespace floe;
using namespace floe::vmm;

constexpr std::uint64_t kRam = 1U << 20;
constexpr std::uint64_t kBar = layout::kPciWindow;
constexpr std::uint64_t kFunction = 1U << 15;
constexpr unsigned kQueueBytes = 0x4000;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "virtqueue: %s\n", what);
  std::abort();
}

struct Sink final : MsiSink {
  void route(unsigned, MsiMessage message) override { require(message.address >> 20 == 0xfee, "routed something else than an interrupt"); }
  void trigger(unsigned vector) override { require(vector < 7, "triggered a vector that does not exist"); }
};

class Script {
 public:
  explicit Script(std::span<const std::uint8_t> data) : data_(data) {}
  bool empty() const { return data_.empty(); }
  template <class T>
  T get() {
    T value{};
    const std::size_t bytes = std::min(sizeof value, data_.size());
    std::memcpy(&value, data_.data(), bytes);
    data_ = data_.subspan(bytes);
    return value;
  }

 private:
  std::span<const std::uint8_t> data_;
};

enum Step : std::uint8_t {
  kConfigWrite,
  kConfigRead,
  kBarWrite,
  kBarRead,
  kPoke,        // any bytes anywhere in RAM
  kDescriptor,  // one of a queue's descriptors
  kOffer,       // a head into the available ring, and the index up
  kNotify,
  kStart,    // the whole initialisation, so that deeper states are cheap to reach
  kControl,  // a well-formed control message
  kTake,
  kSend,
  kService,
  kSave,
  kSteps,
};

class Machine {
 public:
  // One for all inputs would hide dependence on what came before; guest RAM is the only dear part.
  explicit Machine(GuestRam& ram)
      : ram_(ram),
        console_(ram, sink_, {.output_bytes = Virtqueue::kMaxChainBytes, .input_bytes = 4096}),
        pci_(layout::kPciWindow, layout::kPciWindowBytes) {
    require(pci_.add(1, console_.function()), "the console found no place");
    console_.set_output_callback([] {});
    console_.function().set_rebind_callback([this] {
      for (unsigned queue = 0; queue <= VirtioConsole::kQueues; ++queue) {
        const auto address = console_.function().notify_address(queue);
        const bool inside = !address || (*address >= layout::kPciWindow && *address < layout::kPciWindow + layout::kPciWindowBytes);
        require(inside, "a notify address outside of the window");
      }
    });
  }

  void run(Script script) {
    while (!script.empty()) step(script);
    for (unsigned port = 0; port < VirtioConsole::kPorts; ++port) console_.final_drain(port, out_);
    check();
  }

 private:
  template <class T>
  void bar(std::uint64_t offset, T value) {
    std::array<std::byte, sizeof(T)> data;
    std::memcpy(data.data(), &value, sizeof value);
    pci_.window().write(offset, data);
  }
  template <class T>
  void config(std::uint64_t offset, T value) {
    std::array<std::byte, sizeof(T)> data;
    std::memcpy(data.data(), &value, sizeof value);
    pci_.ecam().write(kFunction + offset, data);
  }

  void step(Script& script) {
    std::array<std::byte, 8> data{};
    switch (script.get<std::uint8_t>() % kSteps) {
      case kConfigWrite: {
        const std::size_t size = std::size_t{1} << script.get<std::uint8_t>() % 4;
        const std::uint64_t offset = std::min<std::uint64_t>(script.get<std::uint8_t>(), 0x1000 - size);
        data = script.get<std::array<std::byte, 8>>();
        return pci_.ecam().write(kFunction + offset, std::span(data).first(size));
      }
      case kConfigRead:
        return pci_.ecam().read(kFunction + script.get<std::uint8_t>(), std::span(data).first(1 + script.get<std::uint8_t>() % 8));
      case kBarWrite: {
        const std::size_t size = std::size_t{1} << script.get<std::uint8_t>() % 4;
        const std::uint64_t offset = script.get<std::uint16_t>() % VirtioPci::kBarBytes;
        data = script.get<std::array<std::byte, 8>>();
        return pci_.window().write(offset, std::span(data).first(size));
      }
      case kBarRead:
        return pci_.window().read(script.get<std::uint16_t>() % VirtioPci::kBarBytes,
                                  std::span(data).first(1 + script.get<std::uint8_t>() % 8));
      case kPoke: {
        const Gpa at(script.get<std::uint32_t>() % kRam);
        data = script.get<std::array<std::byte, 8>>();
        ram_.write(at, data);
        return;
      }
      case kDescriptor: {
        const std::uint64_t table = queue_base(script.get<std::uint8_t>());
        const std::uint8_t index = script.get<std::uint8_t>() % 64;
        ram_.write(Gpa(table + 16U * index), script.get<std::array<std::byte, 16>>());
        return;
      }
      case kOffer:
        return offer(script.get<std::uint8_t>() % VirtioConsole::kQueues, script.get<std::uint8_t>());
      case kNotify: {
        const unsigned queue = script.get<std::uint8_t>();
        if (queue % 2 == 0) return bar<std::uint16_t>(0x3000 + 4 * (queue / 2 % 8), static_cast<std::uint16_t>(queue));
        console_.function().handle_notify(queue / 2 % 8);
        return;
      }
      case kStart:
        return start(script.get<std::uint8_t>());
      case kControl: {
        data = script.get<std::array<std::byte, 8>>();
        const Gpa at(0x8'0000);
        ram_.write(at, data);
        const std::uint64_t words[2] = {at.value, 8};
        ram_.write(Gpa(queue_base(3)), std::as_bytes(std::span(words)));
        offer(3, 0);
        return bar<std::uint16_t>(0x300c, 3);
      }
      case kTake:
        console_.take(script.get<std::uint8_t>() % 3, out_);
        return check();
      case kSend: {
        const unsigned port = script.get<std::uint8_t>() % 3;
        const std::vector<std::byte> bytes(script.get<std::uint16_t>() % 5000);
        if (console_.send(port, bytes)) require(port < 2 && bytes.size() <= 4096, "sent more than the bound, or to nobody");
        return;
      }
      case kService:
        return console_.service();
      default: {
        std::array<std::byte, sizeof(VirtioConsole::State)> state;
        require(console_.save(state) == state.size(), "the state did not fit");
      }
    }
  }

  static std::uint64_t queue_base(unsigned queue) { return 0x1'0000 + std::uint64_t{kQueueBytes} * (queue % VirtioConsole::kQueues); }

  void offer(unsigned queue, std::uint8_t head) {
    const std::uint64_t ring = queue_base(queue) + 0x1000;
    std::uint16_t index = 0;
    ram_.read(Gpa(ring + 2), std::as_writable_bytes(std::span(&index, 1)));
    const std::uint16_t entry = head;
    ram_.write(Gpa(ring + 4 + 2U * (index % 64)), std::as_bytes(std::span(&entry, 1)));
    ++index;
    ram_.write(Gpa(ring + 2), std::as_bytes(std::span(&index, 1)));
  }

  void start(std::uint8_t variant) {
    config<std::uint32_t>(0x10, static_cast<std::uint32_t>(kBar));
    config<std::uint16_t>(0x04, 6);
    config<std::uint16_t>(0x86, 0x8000);
    for (const unsigned status : {0, 1, 3}) bar<std::uint8_t>(0x14, static_cast<std::uint8_t>(status));
    bar<std::uint32_t>(0x08, 0);
    bar<std::uint32_t>(0x0c, (variant & 1) != 0 ? 0 : 2);
    bar<std::uint32_t>(0x08, 1);
    bar<std::uint32_t>(0x0c, 1);
    bar<std::uint8_t>(0x14, 0xb);
    const std::vector<std::byte> zeros(kQueueBytes);
    for (unsigned i = 0; i < VirtioConsole::kQueues; ++i) {
      const auto base = static_cast<std::uint32_t>(queue_base(i));
      if ((variant & 2) == 0) ram_.write(Gpa(base), zeros);
      bar<std::uint16_t>(0x16, static_cast<std::uint16_t>(i));
      bar<std::uint16_t>(0x1a, static_cast<std::uint16_t>(i + 1));
      bar<std::uint64_t>(0x20, base);
      bar<std::uint64_t>(0x28, base + 0x1000);
      bar<std::uint64_t>(0x30, base + 0x2000);
      bar<std::uint16_t>(0x1c, 1);
    }
    bar<std::uint8_t>(0x14, 0xf);
  }

  void check() {
    for (unsigned port = 0; port < VirtioConsole::kPorts; ++port) {
      require(console_.pending_output(port) <= Virtqueue::kMaxChainBytes + VirtioConsole::kResetRoom,
              "the output buffer outgrew its bound");
      require(console_.pending_input(port) <= 4096, "the input buffer outgrew its bound");
    }
    const auto counters = console_.function().counters();
    std::uint64_t faults = 0;
    for (const std::uint64_t count : counters.faults) faults += count;
    require(faults == 0 || counters.last_fault != QueueFault::kNone, "a fault without a reason");
    require(faults <= 2 * counters.resets + 1, "more faults than one while running and one while draining, per reset");
  }

  GuestRam& ram_;
  Sink sink_;
  VirtioConsole console_;
  PciHost pci_;
  std::vector<std::byte> out_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::unique_ptr<GuestRam> ram = GuestRam::create(kRam).value();
  const auto all = ram->slice(Gpa(0), kRam);
  std::fill(all.begin(), all.end(), std::byte{0});
  Machine(*ram).run(Script({data, size}));
  return 0;
}
