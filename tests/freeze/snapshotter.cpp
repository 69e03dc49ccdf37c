#include "freeze/snapshotter.hpp"

#include <array>
#include <atomic>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <random>
#include <thread>

#include "tests/tiny/recorder.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;

// Named, since the bodies of data test cases are templates.
namespace snapshotter_test {

constexpr const char* kSources[] = {"kvm-dirty-log", "pagemap-scan", "compare"};
constexpr Gpa kPages{TINY_FREE};
constexpr std::uint64_t kTurns = 200;  // between two pages

bool skip() {
  if (tiny::unavailable()) BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
  return tiny::unavailable().has_value();
}

struct Machine {
  std::unique_ptr<tiny::Guest> guest;
  std::unique_ptr<tiny::Recorder> recorder;

  explicit Machine(const tiny::RecorderOptions& options, unsigned cpus = 2) {
    auto made = tiny::Guest::create({.cpus = cpus});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    guest = std::move(*made);
    auto recording = tiny::Recorder::create(*guest, options);
    if (recording)
      recorder = std::move(*recording);
    else
      BOOST_TEST_MESSAGE("skipped: " << recording.error().message);
  }
  explicit operator bool() const { return recorder != nullptr; }

  Take take() {
    auto taken = recorder->take();
    BOOST_REQUIRE_MESSAGE(taken.has_value(), (taken ? "" : taken.error().message));
    return std::move(*taken);
  }
  void take_well() {
    const Take taken = take();
    BOOST_REQUIRE_MESSAGE(taken.result == TakeResult::kTaken, taken.reason);
  }
  // Until the vCPU has dirtied `pages` more.
  void let_dirty(unsigned cpu, std::uint64_t pages) {
    const std::uint64_t before = guest->status(cpu, &tiny_status::dirtied);
    BOOST_REQUIRE(guest->wait([&] { return guest->status(cpu, &tiny_status::dirtied) >= before + pages; }));
  }
  SnapshotView newest() { return recorder->ring().newest(); }
};

std::uint64_t number(const SnapshotView& view, Gpa at) {
  std::array<std::byte, 8> bytes{};
  BOOST_REQUIRE(view.read(static_cast<std::uint32_t>(at.value / kPageBytes), at.value % kPageBytes, bytes));
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}

// How many pages of the view are not what is in memory; the guest stands still.
std::uint64_t differing_pages(const SnapshotView& view, const std::vector<std::byte>& memory) {
  std::array<std::byte, kPageBytes> page;
  std::uint64_t differing = 0;
  for (std::uint32_t i = 0; i < view.pages(); ++i)
    if (!view.read(i, 0, page) || std::memcmp(page.data(), memory.data() + i * kPageBytes, kPageBytes) != 0) ++differing;
  return differing;
}

std::vector<std::byte> memory_of(tiny::Guest& guest) {
  const auto ram = guest.vm().ram().slice(Gpa(0), guest.vm().ram().bytes());
  return {ram.begin(), ram.end()};
}

void check_exact(Machine& machine) {
  machine.take_well();
  BOOST_TEST(differing_pages(machine.newest(), memory_of(*machine.guest)) == 0u);
}

void check_alive(const tiny::Guest& guest) {
  BOOST_TEST(guest.faults() == 0u);
  for (const auto& event : guest.events()) BOOST_TEST_ERROR("vCPU " << event.vcpu << ": " << event.detail);
}

void write_pages(tiny::Guest& guest, Gpa first, std::uint64_t pages, bool random) {
  std::mt19937_64 numbers(first.value + pages);
  std::array<std::uint64_t, kPageBytes / 8> page{};
  for (std::uint64_t i = 0; i < pages; ++i) {
    if (random)
      for (auto& word : page) word = numbers();
    BOOST_REQUIRE(guest.vm().ram().write(first + i * kPageBytes, std::as_bytes(std::span(page))));
  }
}

}  // namespace snapshotter_test
using namespace snapshotter_test;

BOOST_AUTO_TEST_SUITE(snapshotter)

// Whoever freezes has the processors to itself: a reader of an earlier snapshot, busy all the time, stands still during the pause.
BOOST_AUTO_TEST_CASE(readers_stand_aside_in_the_pause) {
  if (skip()) return;
  std::atomic<std::uint64_t> reads{0};
  std::atomic<bool> reading{false}, over{false};
  unsigned pauses = 0;
  const auto look = [&](std::span<std::byte>) -> std::size_t {
    if (!reading) return 0;
    ++pauses;
    const std::uint64_t before = reads;
    std::this_thread::sleep_for(20ms);
    BOOST_TEST(reads <= before + 1);  // the one under way
    return 0;
  };
  Machine machine({.more_devices = {{"onlooker", 1, look}}});
  if (!machine) return;
  machine.guest->start();
  machine.take_well();
  const SnapshotView view = machine.newest();
  std::thread reader([&] {
    for (std::array<std::byte, 8> bytes{}; !over; ++reads)
      if (!view.read(0, 0, bytes)) break;
  });
  BOOST_REQUIRE(machine.guest->wait([&] { return reads != 0; }));
  reading = true;
  machine.take_well();
  const std::uint64_t after = reads;
  BOOST_TEST(machine.guest->wait([&] { return reads > after; }));
  over = true;
  reader.join();
  BOOST_TEST(pauses == 1u);
}

// The heart of it: whatever was written, when and by whom, a snapshot of a guest that stands still is its RAM.
BOOST_DATA_TEST_CASE(a_snapshot_is_the_ram_byte_for_byte, kSources, source) {
  if (skip()) return;
  Machine machine({.source = source, .depth = 12});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.set_dirtying(0, kPages, 1200, kTurns);
  guest.set_dirtying(1, kPages + 1200 * kPageBytes, 300, kTurns);
  guest.start();
  for (int round = 0; round < 8; ++round) {
    guest.set_mode(TINY_COUNT);
    for (int tick = 0; tick < 3; ++tick) {
      machine.let_dirty(0, 200);
      machine.take_well();
      write_pages(guest, kPages + (4000 + round) * kPageBytes, 3, true);
    }
    BOOST_REQUIRE(guest.halt());
    check_exact(machine);
  }
  // And nothing changes afterwards.
  const std::vector<std::byte> remembered = memory_of(guest);
  const SnapshotView kept = machine.newest();
  guest.set_mode(TINY_COUNT);
  for (int tick = 0; tick < 10; ++tick) {
    machine.let_dirty(0, 300);
    machine.take_well();
  }
  BOOST_TEST(differing_pages(kept, remembered) == 0u);
  BOOST_TEST(machine.recorder->ring().counters().did_not_fit == 0u);
  check_alive(guest);
}

BOOST_DATA_TEST_CASE(a_snapshot_tells_what_it_cost_and_what_the_vcpus_were_doing, kSources, source) {
  if (skip()) return;
  Machine machine({.source = source});
  if (!machine) return;
  BOOST_TEST(machine.recorder->source() == std::string(source));
  tiny::Guest& guest = *machine.guest;
  guest.set_dirtying(0, kPages, 2000, kTurns);
  guest.set_mode(TINY_COUNT);
  guest.start();
  std::uint64_t clock = 0;
  for (std::uint64_t tick = 1; tick <= 10; ++tick) {
    machine.let_dirty(0, 500);
    const Take taken = machine.take();
    BOOST_REQUIRE(taken.result == TakeResult::kTaken);
    const SnapshotMeta& meta = taken.meta;
    BOOST_TEST(meta.sequence == tick);
    BOOST_TEST(meta.tick == tick);
    BOOST_TEST(meta.whole);
    if (tick > 1) BOOST_TEST(meta.dirty_pages >= 500u);
    BOOST_TEST(meta.residual_pages <= meta.dirty_pages);
    BOOST_TEST(meta.pause_us >= meta.kick_to_park_us + meta.capture_us);
    BOOST_TEST(meta.guest_clock_ns > clock);
    clock = meta.guest_clock_ns;
    const SnapshotView view = machine.newest();
    BOOST_TEST(view.meta().sequence == tick);
    BOOST_REQUIRE(view.machine().vcpus.size() == 2u);
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
      const VcpuState& vcpu = view.machine().vcpus[cpu];
      BOOST_TEST(vcpu.id == cpu);
      BOOST_TEST(guest.in_payload(vcpu.ip));
      BOOST_TEST(vcpu.cr3 == std::uint64_t{TINY_PAGE_TABLES});
      BOOST_TEST(vcpu.blob.size() == sizeof(vmm::VcpuState));
      const std::uint64_t counter = number(view, tiny::Guest::area(cpu, TINY_COUNTER)),
                          mirror = number(view, tiny::Guest::area(cpu, TINY_MIRROR));
      BOOST_TEST((mirror == counter || mirror + 1 == counter));
    }
  }
  check_alive(guest);
}

// Pre-copy is what keeps the pause from growing: with it far fewer pages are left for the pause than were dirtied.
BOOST_AUTO_TEST_CASE(precopy_leaves_little_to_the_pause) {
  if (skip()) return;
  for (const bool precopy : {false, true}) {
    Machine machine({.how = {.precopy = precopy}}, 1);
    if (!machine) return;
    tiny::Guest& guest = *machine.guest;
    guest.set_dirtying(0, kPages, 4000, 1000);
    guest.start();
    machine.take_well();
    std::uint64_t dirty = 0, residual = 0;
    for (int tick = 0; tick < 5; ++tick) {
      guest.set_mode(TINY_COUNT);
      machine.let_dirty(0, 2000);
      guest.set_mode(TINY_SPIN);  // it runs, and dirties one page: how many more it would have done is the machine's affair
      for (int turn = 0; turn < 2; ++turn) BOOST_REQUIRE(guest.wait_for_progress(TINY_SPIN));
      const Take taken = machine.take();
      BOOST_REQUIRE(taken.result == TakeResult::kTaken);
      dirty += taken.meta.dirty_pages;
      residual += taken.meta.residual_pages;
      BOOST_TEST((taken.meta.passes > 0) == precopy);
    }
    BOOST_TEST_MESSAGE((precopy ? "with" : "without") << " pre-copy: " << residual << " of " << dirty << " pages were copied in the pause");
    BOOST_TEST(dirty >= 10'000u);
    if (precopy)
      BOOST_TEST(residual <= 50u);
    else
      BOOST_TEST(residual == dirty);
  }
}

BOOST_DATA_TEST_CASE(a_tick_on_which_a_vcpu_does_not_park_loses_nothing, kSources, source) {
  if (skip()) return;
  Machine machine({.source = source, .how = {.rendezvous_limit = 20ms}});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.set_dirtying(0, kPages, 1500, kTurns);
  guest.set_mode(0, TINY_COUNT);
  guest.start();
  // On a busy host a vCPU may well be late by itself: that tick is another one that fails.
  const auto take_at_last = [&machine] { return tiny::Guest::wait([&machine] { return machine.take().result == TakeResult::kTaken; }); };
  BOOST_REQUIRE(take_at_last());
  for (int round = 0; round < 5; ++round) {
    guest.close_latch();
    guest.set_mode(1, TINY_LATCH);
    BOOST_REQUIRE(guest.wait([&] { return guest.latched(); }));
    for (int tick = 0; tick < 2; ++tick) {
      machine.let_dirty(0, 700);
      const std::size_t before = machine.recorder->ring().size();
      const Take failed = machine.take();
      BOOST_TEST((failed.result == TakeResult::kRendezvousTimeout));
      BOOST_TEST(!failed.reason.empty());
      BOOST_TEST(machine.recorder->ring().size() == before);
    }
    guest.open_latch();
    BOOST_REQUIRE(guest.halt());
    BOOST_REQUIRE(take_at_last());
    BOOST_TEST(differing_pages(machine.newest(), memory_of(guest)) == 0u);
    guest.set_mode(0, TINY_COUNT);
  }
  check_alive(guest);
}

// More was dirtied in a moment than the staging area takes in the pause. The snapshot is refused, and so may be the next; but what is
// staged by then is stored before the next pause, and as soon as the guest slows down one fits, with everything in it.
BOOST_DATA_TEST_CASE(a_pause_that_runs_out_of_staging_recovers, (boost::unit_test::data::make({true, false})), precopy) {
  if (skip()) return;
  Machine machine({.how = {.staging_pages = 256, .precopy = precopy}});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.start();
  BOOST_REQUIRE(guest.halt());
  check_exact(machine);
  // Between two looks of the pre-copy and the pause nobody can be made to write; without pre-copy the pause meets it all.
  write_pages(guest, kPages, 260, true);
  if (!precopy) {
    const Take refused = machine.take();
    BOOST_TEST((refused.result == TakeResult::kDidNotFit));
    BOOST_TEST(!refused.reason.empty());
    BOOST_TEST(machine.recorder->ring().counters().did_not_fit == 1u);
  }
  check_exact(machine);
  write_pages(guest, kPages + 100 * kPageBytes, 1000, true);
  for (int tick = 0; tick < 8; ++tick)
    if (machine.take().result == TakeResult::kTaken) break;
  check_exact(machine);
}

// The ring's memory is full of what cannot be shared. It refuses, and once the guest has become smaller it goes on.
BOOST_AUTO_TEST_CASE(a_snapshot_that_the_ring_refuses_is_made_up_for_later) {
  if (skip()) return;
  Machine machine({.store_bytes = 16u << 20, .ring_bytes = 12u << 20});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.start();
  BOOST_REQUIRE(guest.halt());
  check_exact(machine);
  write_pages(guest, kPages, 6000, true);
  for (int tick = 0; tick < 3; ++tick) {
    const Take refused = machine.take();
    BOOST_TEST((refused.result == TakeResult::kDidNotFit));
    BOOST_TEST(!refused.reason.empty());
  }
  BOOST_TEST(machine.recorder->ring().counters().did_not_fit == 3u);
  BOOST_TEST(machine.recorder->ring().bytes() <= 12u << 20);
  write_pages(guest, kPages + 1000 * kPageBytes, 5000, false);
  check_exact(machine);
  check_exact(machine);
}

// What fits of such a guest is what readers touch. All else that changed is unknown, never what it was before, until a whole one fits.
BOOST_AUTO_TEST_CASE(after_a_refused_snapshot_comes_one_of_the_touched_pages) {
  if (skip()) return;
  Machine machine({.store_bytes = 16u << 20, .ring_bytes = 12u << 20});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.start();
  BOOST_REQUIRE(guest.halt());
  check_exact(machine);
  constexpr std::uint64_t kFirst = TINY_FREE / kPageBytes, kTouched = 10, kWritten = 6000;
  std::vector<std::uint64_t> touched((guest.vm().ram().pages() + 63) / 64);
  for (std::uint64_t page = kFirst; page < kFirst + kTouched; ++page) touched[page / 64] |= std::uint64_t{1} << (page % 64);
  machine.recorder->snapshotter().set_touched(touched);

  for (int round = 0; round < 2; ++round) {
    write_pages(guest, kPages, kWritten + static_cast<std::uint64_t>(round), true);
    BOOST_TEST((machine.take().result == TakeResult::kDidNotFit));
    const Take partial = machine.take();
    BOOST_REQUIRE_MESSAGE(partial.result == TakeResult::kTaken, partial.reason);
    BOOST_TEST(!partial.meta.whole);
    BOOST_TEST(partial.absent_pages >= kWritten - kTouched);
    const SnapshotView view = machine.newest();
    BOOST_TEST(!view.meta().whole);
    const auto memory = memory_of(guest);
    std::array<std::byte, kPageBytes> page;
    std::uint64_t absent = 0, wrong = 0;
    for (std::uint32_t i = 0; i < view.pages(); ++i) {
      const bool there = view.read(i, 0, page);
      absent += there ? 0 : 1;
      if (there && std::memcmp(page.data(), memory.data() + i * kPageBytes, kPageBytes) != 0) ++wrong;
      if (i >= kFirst && i < kFirst + kTouched) BOOST_TEST(there);
    }
    BOOST_TEST(wrong == 0u);
    BOOST_TEST(absent == partial.absent_pages);
  }
  BOOST_TEST(machine.recorder->ring().bytes() <= 12u << 20);
  write_pages(guest, kPages + 1000 * kPageBytes, 5001, false);
  check_exact(machine);
  BOOST_TEST(machine.newest().meta().whole);
}

BOOST_AUTO_TEST_CASE(a_dead_vcpu_does_not_end_the_history) {
  if (skip()) return;
  Machine machine({});
  if (!machine) return;
  tiny::Guest& guest = *machine.guest;
  guest.set_mode(TINY_COUNT);
  guest.start();
  BOOST_REQUIRE(guest.wait_for_progress(TINY_COUNT));
  machine.take_well();
  guest.set_mode(1, TINY_DIE);
  BOOST_REQUIRE(guest.wait([&] { return !guest.events().empty(); }));
  for (int tick = 0; tick < 5; ++tick) machine.take_well();
  const SnapshotView view = machine.newest();
  BOOST_TEST(guest.in_payload(view.machine().vcpus[1].ip));
  BOOST_TEST(number(view, tiny::Guest::area(1, TINY_COUNTER)) == guest.counter(1));
}

BOOST_AUTO_TEST_SUITE_END()
