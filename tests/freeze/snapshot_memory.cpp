#include "freeze/snapshot_memory.hpp"

#include <sys/stat.h>

#include <array>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <numeric>
#include <vector>

using namespace floe;
using namespace floe::freeze;

namespace {

std::vector<std::byte> bytes_of(std::size_t size, unsigned start) {
  std::vector<std::byte> bytes(size);
  for (std::size_t n = 0; n < size; ++n) bytes[n] = static_cast<std::byte>((start + n * 7) & 0xff);
  return bytes;
}

std::uint64_t resident_blocks(const vmm::GuestRam& ram) {
  struct stat st{};
  BOOST_REQUIRE(::fstat(ram.fd(), &st) == 0);
  return static_cast<std::uint64_t>(st.st_blocks);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(snapshot_memory)

BOOST_AUTO_TEST_CASE(a_ring_snapshot_reads_across_pages_and_stops_at_holes) {
  const auto store = PageStore::create({.byte_limit = 16 << 20}).value();
  SnapshotRing ring(store, {.pages = 6, .depth = 2, .byte_limit = 16 << 20});
  const auto image = bytes_of(2 * kPageBytes, 3);
  const std::span<const std::byte> all(image);
  const PageRef first = ring.put(all.first<kPageBytes>()).value();
  const PageRef second = ring.put(all.last<kPageBytes>()).value();
  const std::array changes{PageChange{1, first}, PageChange{2, second}, PageChange{4, first}};
  BOOST_REQUIRE(ring.put(all.first<kPageBytes>()));
  BOOST_REQUIRE(ring.push({}, {}, changes));
  const RamLayout layout = RamLayout::create({{Gpa(0x10000), 4 * kPageBytes, 0}, {Gpa(0x100000), 2 * kPageBytes, 4}}).value();
  const SnapshotView view = ring.newest();
  const RingMemory memory(view, layout);

  std::vector<std::byte> out(2 * kPageBytes - 10);
  BOOST_TEST(memory.read(Gpa(0x11005), out) == out.size());
  BOOST_TEST(std::equal(out.begin(), out.end(), image.begin() + 5));
  std::vector<std::byte> zero(100, std::byte{9});
  BOOST_TEST(memory.read(Gpa(0x10000), zero) == 100u);
  BOOST_TEST(std::count(zero.begin(), zero.end(), std::byte{0}) == 100);

  BOOST_TEST(memory.read(Gpa(0x13ff0), out) == 16u);
  BOOST_TEST(memory.read(Gpa(0x14000), out) == 0u);
  BOOST_TEST(memory.read(Gpa(0xfff0), out) == 0u);
  BOOST_TEST(memory.read(Gpa(~std::uint64_t{0} - 5), out) == 0u);
  BOOST_TEST(memory.read(Gpa(0x101ffe), out) == 2u);

  const auto populated = memory.populated();
  BOOST_REQUIRE(populated.size() == 2u);
  BOOST_TEST((populated[0].start == Gpa(0x11000)));
  BOOST_TEST(populated[0].bytes == 2 * kPageBytes);
  BOOST_TEST((populated[1].start == Gpa(0x100000)));
  BOOST_TEST(populated[1].bytes == kPageBytes);
}

BOOST_AUTO_TEST_CASE(a_ring_snapshot_takes_hints_for_pages_it_has_read_and_keeps_as_they_are) {
  const auto store = PageStore::create({.byte_limit = 16 << 20}).value();
  SnapshotRing ring(store, {.pages = 3, .depth = 2, .byte_limit = 16 << 20});
  const auto image = bytes_of(kPageBytes, 3);
  const std::vector<std::byte> dull(kPageBytes, std::byte{7});
  const std::array changes{PageChange{0, ring.put(std::span<const std::byte>(image).first<kPageBytes>()).value()},
                           PageChange{1, ring.put(std::span<const std::byte>(dull).first<kPageBytes>()).value()}};
  BOOST_REQUIRE(ring.push({}, {}, changes));
  const RamLayout layout = RamLayout::create({{Gpa(0x1000), 3 * kPageBytes, 0}}).value();
  const SnapshotView view = ring.newest();
  const RingMemory memory(view, layout);
  std::vector<std::byte> out(16);
  BOOST_TEST(!memory.prefetch(Gpa(0x1ff0), 64));
  for (const std::uint64_t page : {0x1000, 0x2000, 0x3000}) BOOST_TEST(memory.read(Gpa(page), out) == 16u);
  BOOST_TEST(memory.prefetch(Gpa(0x1ff0), 64));
  BOOST_TEST(memory.prefetch(Gpa(0x2000), ~std::size_t{0}));
  BOOST_TEST(!memory.prefetch(Gpa(0x3000), 8));  // of the zero page there is nothing to fetch
  BOOST_TEST(!memory.prefetch(Gpa(0x4000), 8));
  // A page that was compressed meanwhile has left its place: the hint is for nothing, and reads are right.
  BOOST_REQUIRE(ring.push({}, {}, {}));
  BOOST_TEST(ring.compress_cold(0, 10) > 0u);
  memory.prefetch(Gpa(0x2000), 64);
  BOOST_TEST(memory.read(Gpa(0x2008), out) == 16u);
  BOOST_TEST(std::count(out.begin(), out.end(), std::byte{7}) == 16);
}

BOOST_AUTO_TEST_CASE(layouts_that_cannot_be_are_refused) {
  const auto ok = [](std::vector<RamSlot> slots) { return RamLayout::create(std::move(slots)).has_value(); };
  BOOST_TEST(ok({}));
  BOOST_TEST(ok({{Gpa(0), 0x1000, 0}, {Gpa(0x1000), 0x2000, 1}}));
  BOOST_TEST(!ok({{Gpa(0), 0, 0}}));
  BOOST_TEST(!ok({{Gpa(0), 0x1001, 0}}));
  BOOST_TEST(!ok({{Gpa(0x10), 0x1000, 0}}));
  BOOST_TEST(!ok({{Gpa(0), 0x1000, 1}}));
  BOOST_TEST(!ok({{Gpa(0), 0x2000, 0}, {Gpa(0x1000), 0x1000, 2}}));
  BOOST_TEST(!ok({{Gpa(0), 0x2000, 0}, {Gpa(0x2000), 0x1000, 1}}));
  BOOST_TEST(!ok({{Gpa(0xffff'ffff'ffff'f000), 0x2000, 0}}));
  BOOST_TEST(!ok({{Gpa(0), std::uint64_t{1} << 44, 0}}));
}

BOOST_AUTO_TEST_CASE(a_layout_follows_guest_ram_around_the_hole) {
  const auto ram = vmm::GuestRam::create(vmm::kLowRamMax + (64 << 20)).value();
  const RamLayout layout = RamLayout::of(*ram).value();
  BOOST_TEST(layout.pages() == ram->pages());
  std::uint32_t page = 0;
  BOOST_TEST(layout.find(Gpa(vmm::kHighRamStart + 0x1800), page) == (64u << 20) - 0x1800);
  BOOST_TEST(page == vmm::kLowRamMax / kPageBytes + 1);
  BOOST_TEST(layout.find(Gpa(vmm::kLowRamMax), page) == 0u);
}

BOOST_AUTO_TEST_CASE(live_memory_reads_what_is_there_and_creates_nothing) {
  const auto ram = vmm::GuestRam::create(vmm::kLowRamMax + (64 << 20)).value();
  const LiveMemory memory(*ram);
  const auto text = bytes_of(3 * kPageBytes, 1);
  BOOST_REQUIRE(ram->write(Gpa(0x5ff1), text));
  BOOST_REQUIRE(ram->write(Gpa(vmm::kHighRamStart), std::span(text).first(100)));
  const std::uint64_t before = resident_blocks(*ram);

  std::vector<std::byte> out(text.size());
  BOOST_TEST(memory.read(Gpa(0x5ff1), out) == out.size());
  BOOST_TEST((out == text));
  for (std::size_t offset = 0; offset < 9; ++offset)
    for (std::size_t size = 0; size < 40; ++size) {
      std::vector<std::byte> part(size);
      BOOST_TEST(memory.read(Gpa(0x5ff1 + offset), part) == size);
      BOOST_TEST(std::equal(part.begin(), part.end(), text.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
  BOOST_TEST(memory.prefetch(Gpa(0x5ff1), out.size()));
  BOOST_TEST(memory.prefetch(Gpa(0x100000), 64));
  BOOST_TEST(!memory.prefetch(Gpa(vmm::kLowRamMax), 64));
  std::fill(out.begin(), out.end(), std::byte{1});
  BOOST_TEST(memory.read(Gpa(0x100000), out) == out.size());
  BOOST_TEST(static_cast<std::size_t>(std::count(out.begin(), out.end(), std::byte{0})) == out.size());
  BOOST_TEST(resident_blocks(*ram) == before);

  BOOST_TEST(memory.read(Gpa(vmm::kLowRamMax - 10), out) == 10u);
  BOOST_TEST(memory.read(Gpa(vmm::kLowRamMax), out) == 0u);
  BOOST_TEST(memory.read(Gpa(vmm::kHighRamStart + (64 << 20) - 1), out) == 1u);
  BOOST_TEST(memory.read(Gpa(~std::uint64_t{0}), out) == 0u);

  // A page that was a hole when first read is seen once it exists.
  BOOST_REQUIRE(ram->write(Gpa(0x100000), text));
  BOOST_TEST(memory.read(Gpa(0x100000), out) == out.size());
  BOOST_TEST((out == text));

  const auto populated = memory.populated();
  BOOST_REQUIRE(populated.size() == 3u);
  BOOST_TEST((populated[0].start == Gpa(0x5000)));
  BOOST_TEST(populated[0].bytes == 4 * kPageBytes);
  BOOST_TEST((populated[2].start == Gpa(vmm::kHighRamStart)));
}

BOOST_AUTO_TEST_CASE(a_populated_range_across_the_hole_is_two) {
  const auto ram = vmm::GuestRam::create(vmm::kLowRamMax + (64 << 20)).value();
  const auto text = bytes_of(kPageBytes, 1);
  BOOST_REQUIRE(ram->write(Gpa(vmm::kLowRamMax - kPageBytes), text));
  BOOST_REQUIRE(ram->write(Gpa(vmm::kHighRamStart), text));
  const auto populated = LiveMemory(*ram).populated();
  BOOST_REQUIRE(populated.size() == 2u);
  BOOST_TEST((populated[0].start == Gpa(vmm::kLowRamMax - kPageBytes)));
  BOOST_TEST(populated[0].bytes == kPageBytes);
  BOOST_TEST((populated[1].start == Gpa(vmm::kHighRamStart)));
}

BOOST_AUTO_TEST_SUITE_END()
