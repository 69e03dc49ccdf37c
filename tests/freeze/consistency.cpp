// What a snapshot promises as a whole: it is one instant of the machine. A thousand of them, taken as fast as they go from a
// guest whose every store is part of an invariant: across two pages of one vCPU, and between memory, device and host.
#include <algorithm>
#include <array>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/tiny/recorder.hpp"
#include "vmm/wire.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;
namespace wire = floe::vmm::wire;

namespace {

constexpr unsigned kTransmitQueue = 5, kTlvPort = vmm::VirtioConsole::kTlvPort;
constexpr std::uint64_t kFramePayload = 64, kFrameBytes = wire::kHeaderBytes + kFramePayload;

bool skip() {
  if (tiny::unavailable()) BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
  return tiny::unavailable().has_value();
}

template <class T>
T read(const SnapshotView& view, std::uint64_t gpa) {
  std::array<std::byte, sizeof(T)> bytes{};
  BOOST_REQUIRE(view.read(static_cast<std::uint32_t>(gpa / kPageBytes), gpa % kPageBytes, bytes));
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// The host's end of port 1.
class Receiver {
 public:
  explicit Receiver(tiny::Guest& guest) : guest_(guest) {}

  // Takes what is there.
  void drain() {
    while (guest_.pc().console().take(kTlvPort, scratch_) > 0) {
      bytes_ += scratch_.size();
      decoder_.feed(scratch_);
      while (const auto frame = decoder_.next()) check(*frame);
      most_memory_ = std::max(most_memory_, decoder_.capacity());
    }
  }
  void finish() {
    decoder_.finish();
    while (const auto frame = decoder_.next()) check(*frame);
  }
  std::uint64_t frames() const { return decoder_.stats().frames; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t wrong() const { return wrong_; }
  std::size_t most_memory() const { return most_memory_; }
  const wire::Decoder& decoder() const { return decoder_; }

 private:
  void check(const wire::Frame& frame) {
    std::uint64_t inside = 0;
    if (frame.payload.size() == kFramePayload) std::memcpy(&inside, frame.payload.data(), sizeof inside);
    if (frame.sequence != next_++ || frame.payload.size() != kFramePayload || inside != frame.sequence || frame.type != wire::tag("TINY"))
      ++wrong_;
  }

  tiny::Guest& guest_;
  wire::Decoder decoder_;
  std::vector<std::byte> scratch_;
  std::uint64_t bytes_ = 0, next_ = 0, wrong_ = 0;
  std::size_t most_memory_ = 0;
};

// Counted instead of reported one by one: a broken snapshot is rarely alone.
struct Broken {
  std::uint64_t mirrors = 0, registers = 0, ahead = 0, behind = 0, used = 0, device = 0, available = 0, order = 0;
  void check_none() const {
    BOOST_TEST(mirrors == 0u);
    BOOST_TEST(registers == 0u);
    BOOST_TEST(ahead == 0u);
    BOOST_TEST(behind == 0u);
    BOOST_TEST(used == 0u);
    BOOST_TEST(device == 0u);
    BOOST_TEST(available == 0u);
    BOOST_TEST(order == 0u);
  }
};

void check_vcpus(const tiny::Guest& guest, const SnapshotView& view, Broken& broken) {
  for (const VcpuState& vcpu : view.machine().vcpus) {
    const auto counter = read<std::uint64_t>(view, tiny::Guest::area(vcpu.id, TINY_COUNTER).value);
    const auto mirror = read<std::uint64_t>(view, tiny::Guest::area(vcpu.id, TINY_MIRROR).value);
    if (mirror != counter && mirror + 1 != counter) ++broken.mirrors;
    if (!guest.in_payload(vcpu.ip) || vcpu.cr3 != TINY_PAGE_TABLES) ++broken.registers;
  }
}

vmm::VirtioConsole::State console_state(const SnapshotView& view) {
  for (const DeviceState& device : view.machine().devices) {
    if (device.name != "virtio-console" || device.blob.size() != sizeof(vmm::VirtioConsole::State)) continue;
    vmm::VirtioConsole::State state;
    std::memcpy(&state, device.blob.data(), sizeof state);
    return state;
  }
  BOOST_FAIL("the snapshot has no console");
  return {};
}

// `before` was received when the snapshot began, nobody took anything until it was over, `after` was received afterwards.
void check_stream(const SnapshotView& view, std::uint64_t before, std::uint64_t bytes_before, std::uint64_t after, Broken& broken) {
  const auto sent = read<std::uint64_t>(view, tiny::Guest::area(0, TINY_STATUS + offsetof(tiny_status, sent)).value);
  const std::uint64_t queue = TINY_QUEUES + kTransmitQueue * TINY_QUEUE_BYTES;
  const auto available = read<std::uint16_t>(view, queue + 0x1002), used = read<std::uint16_t>(view, queue + 0x2002);
  const vmm::VirtioConsole::State console = console_state(view);
  if (before > sent) ++broken.behind;    // memory is older than what had come out already
  if (sent > after + 1) ++broken.ahead;  // memory is newer than what came out later: one may be on its way
  if (available != static_cast<std::uint16_t>(sent) && available != static_cast<std::uint16_t>(sent - 1)) ++broken.available;
  const std::uint64_t arrived = bytes_before + console.port[kTlvPort].pending_output;
  if (arrived % kFrameBytes != 0 || static_cast<std::uint16_t>(arrived / kFrameBytes) != used) ++broken.used;
  if (console.pci.queue[kTransmitQueue].used_index != used || console.pci.queue[kTransmitQueue].taken != used) ++broken.device;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(consistency)

constexpr const char* kSources[] = {"kvm-dirty-log", "pagemap-scan", "compare"};

BOOST_DATA_TEST_CASE(a_thousand_snapshots_are_each_one_instant, kSources, source) {
  if (skip()) return;
  auto made = tiny::Guest::create({.cpus = 3, .pc = true});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  tiny::Guest& guest = **made;
  auto recording = tiny::Recorder::create(guest, {.source = source, .how = {.rendezvous_limit = 20s}});
  if (!recording) {
    BOOST_TEST_MESSAGE("skipped: " << recording.error().message);
    return;
  }
  tiny::Recorder& recorder = **recording;
  guest.set_parameter(0, &tiny_parameters::frame_payload, kFramePayload);
  guest.set_parameter(0, &tiny_parameters::pace, 100);
  guest.set_mode(0, TINY_FRAMES);
  for (unsigned cpu = 1; cpu < 3; ++cpu) {
    guest.set_dirtying(cpu, Gpa(TINY_FREE + cpu * 2048 * kPageBytes), 200, 20'000);
    guest.set_mode(cpu, TINY_COUNT);
  }
  guest.start();
  BOOST_REQUIRE(guest.wait([&] { return guest.status(0, &tiny_status::sent) > 10 || guest.status(0, &tiny_status::driver_error) != 0; }));
  BOOST_REQUIRE(guest.status(0, &tiny_status::driver_error) == 0u);

  Receiver receiver(guest);
  Broken broken;
  // The last resort looks at every page in the pause; it is as right, but not as fast.
  const unsigned snapshots = source == std::string_view("compare") ? 100 : 1000;
  std::uint64_t last = 0;
  for (unsigned i = 0; i < snapshots; ++i) {
    // The host's cores may be few: the guest shall get to do something between two snapshots.
    const std::uint64_t sent = guest.status(0, &tiny_status::sent);
    BOOST_REQUIRE(guest.wait([&] { return guest.status(0, &tiny_status::sent) >= sent + 2; }));
    receiver.drain();
    const std::uint64_t before = receiver.frames(), bytes_before = receiver.bytes();
    auto taken = recorder.take();
    BOOST_REQUIRE_MESSAGE(taken.has_value(), (taken ? "" : taken.error().message));
    BOOST_REQUIRE_MESSAGE(taken->result == TakeResult::kTaken, taken->reason);
    receiver.drain();
    const SnapshotView view = recorder.ring().newest();
    check_vcpus(guest, view, broken);
    check_stream(view, before, bytes_before, receiver.frames(), broken);
    const auto counted = read<std::uint64_t>(view, tiny::Guest::area(1, TINY_COUNTER).value);
    if (counted < last) ++broken.order;
    last = counted;
  }
  broken.check_none();

  // The ones that are kept are what they were.
  const SnapshotRing& ring = recorder.ring();
  BOOST_TEST(ring.size() == 60u);
  BOOST_TEST(ring.counters().taken == snapshots);
  BOOST_TEST(ring.counters().evicted == snapshots - 60);
  for (std::size_t i = 0; i < ring.size(); ++i) check_vcpus(guest, ring.view(i), broken);
  broken.check_none();

  // No vCPU and no frame is lost.
  for (unsigned cpu = 0; cpu < 3; ++cpu) BOOST_TEST(guest.vm().vcpu(cpu).counters().parks.load() == snapshots);
  BOOST_REQUIRE(guest.halt());
  receiver.drain();
  BOOST_TEST(receiver.frames() == guest.status(0, &tiny_status::sent));
  BOOST_TEST(receiver.wrong() == 0u);
  BOOST_TEST(receiver.decoder().stats().garbage_bytes == 0u);
  BOOST_TEST(guest.faults() == 0u);
  BOOST_TEST(guest.events().empty());
  BOOST_TEST_MESSAGE(receiver.frames() << " frames, " << guest.vm().rekicks() << " kicks repeated");
}

// A guest that floods port 1 with noise costs bounded memory, and its frames are found behind it.
BOOST_AUTO_TEST_CASE(a_flood_of_garbage_is_counted_and_stepped_over) {
  if (skip()) return;
  constexpr std::uint64_t kGarbage = 64u << 20, kFrames = 2000;
  auto made = tiny::Guest::create({.cpus = 1, .pc = true});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  tiny::Guest& guest = **made;
  guest.set_parameter(0, &tiny_parameters::garbage_bytes, kGarbage);
  guest.set_parameter(0, &tiny_parameters::frame_payload, kFramePayload);
  guest.set_parameter(0, &tiny_parameters::frame_limit, kFrames);
  guest.set_parameter(0, &tiny_parameters::frame_batch, 16);
  guest.set_mode(0, TINY_GARBAGE);
  guest.start();
  Receiver receiver(guest);
  std::size_t most_pending = 0;
  const auto done = [&] {
    most_pending = std::max(most_pending, guest.pc().console().pending_output(kTlvPort));
    receiver.drain();
    return guest.status(0, &tiny_status::done) == 1;
  };
  BOOST_REQUIRE(guest.wait(done, 120s));
  receiver.drain();
  receiver.finish();
  const wire::Decoder::Stats& stats = receiver.decoder().stats();
  BOOST_TEST(guest.status(0, &tiny_status::driver_error) == 0u);
  BOOST_TEST(stats.frames == kFrames);
  BOOST_TEST(receiver.wrong() == 0u);
  BOOST_TEST(stats.garbage_bytes == kGarbage);
  BOOST_TEST(receiver.bytes() == kGarbage + kFrames * kFrameBytes);
  BOOST_TEST(stats.sequence_gaps == 0u);
  BOOST_TEST(most_pending <= vmm::VirtioConsole::Options().output_bytes);
  BOOST_TEST(receiver.most_memory() <= 8u << 20);
  const auto counters = guest.pc().console().counters();
  BOOST_TEST(counters.port[kTlvPort].output_bytes == receiver.bytes());
  BOOST_TEST_MESSAGE(counters.port[kTlvPort].back_pressure << " times the guest had to wait; the decoder held at most "
                                                           << receiver.most_memory() << " bytes");
}

BOOST_AUTO_TEST_SUITE_END()
