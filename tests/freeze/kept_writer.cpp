#include "freeze/kept_writer.hpp"

#include <boost/test/unit_test.hpp>
#include <map>
#include <random>
#include <vector>

#include "freeze/snapshot_memory.hpp"
#include "tests/freeze/kept_files.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::test;

namespace {

struct Rig {
  static constexpr std::uint32_t kPages = 300;
  std::shared_ptr<PageStore> store = PageStore::create({.byte_limit = 64 << 20}).value();
  SnapshotRing ring{store, {.pages = kPages, .depth = 6, .byte_limit = 64 << 20}};
  RamLayout layout = RamLayout::create({{Gpa(0), 200 * kPageBytes, 0}, {Gpa(0x1000'0000), 100 * kPageBytes, 200}}).value();

  void push(std::uint64_t sequence, const std::map<std::uint32_t, std::uint64_t>& contents) {
    std::vector<PageChange> changes;
    for (const auto& [page, content] : contents) changes.push_back({page, ring.put(page_of(content)).value()});
    MachineState machine;
    machine.vcpus.push_back({0, sequence, 0, 0, std::vector<std::byte>(50)});
    BOOST_REQUIRE(ring.push({.sequence = sequence, .tick = sequence * 2}, std::move(machine), changes));
  }
  void fill(std::uint64_t snapshots) {
    const std::uint64_t seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937_64 random(seed);
    for (std::uint64_t sequence = 1; sequence <= snapshots; ++sequence) {
      std::map<std::uint32_t, std::uint64_t> contents;
      for (std::uint64_t n = sequence == 1 ? 150 : random() % 40; n > 0; --n)
        contents[static_cast<std::uint32_t>(random() % kPages)] = random() % 200;
      push(sequence, contents);
    }
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(kept_writer)

BOOST_AUTO_TEST_CASE(every_kept_snapshot_equals_the_rings) {
  Rig rig;
  rig.fill(9);
  rig.ring.compress_cold(2, 50);
  const Folder folder;
  FolderSink sink(folder);
  KeptWriter writer(rig.ring, rig.layout, sink);
  BOOST_REQUIRE(writer.run());
  BOOST_TEST(writer.summary().snapshots == 6u);
  BOOST_TEST(writer.summary().pages == rig.store->stats().pages);
  BOOST_TEST(writer.summary().failed.empty());
  BOOST_TEST(sink.largest < 300u << 10);
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) bytes += entry.file_size();
  BOOST_TEST(writer.summary().bytes == bytes);

  for (std::size_t n = 0; n < rig.ring.size(); ++n) {
    const std::uint64_t sequence = rig.ring.meta(n).sequence;
    BOOST_TEST(sequence == n + 4);
    const auto file = SnapshotFile::open(folder.file(snapshot_file_name(sequence)));
    BOOST_REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
    BOOST_TEST((*file)->meta().tick == sequence * 2);
    BOOST_TEST((*file)->machine().vcpus.at(0).ip == sequence);
    const SnapshotView view = rig.ring.view(n);
    const RingMemory memory(view, rig.layout);
    std::vector<std::byte> kept(200 * kPageBytes), ring(kept.size());
    for (const RamSlot& slot : rig.layout.slots()) {
      BOOST_REQUIRE((*file)->read(slot.start, std::span(kept).first(slot.bytes)) == slot.bytes);
      BOOST_REQUIRE(memory.read(slot.start, std::span(ring).first(slot.bytes)) == slot.bytes);
      BOOST_REQUIRE((kept == ring));
    }
    const auto a = (*file)->populated(), b = memory.populated();
    BOOST_REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) BOOST_REQUIRE((a[i].start == b[i].start && a[i].bytes == b[i].bytes));
  }
}

// Also when the snapshot that left them out has become the oldest, and the ones before it are gone.
BOOST_AUTO_TEST_CASE(pages_that_were_not_captured_stay_unknown) {
  Rig rig;
  rig.fill(3);
  const std::vector<PageChange> absent = {{7, kAbsentPage}, {8, kAbsentPage}, {9, kAbsentPage}};
  BOOST_REQUIRE(rig.ring.push({.sequence = 4, .whole = false}, {}, absent));
  for (std::uint64_t sequence = 5; sequence <= 9; ++sequence) rig.push(sequence, {{8, sequence}});
  BOOST_REQUIRE(rig.ring.size() == 6u);
  BOOST_REQUIRE(rig.ring.meta(0).sequence == 4u);
  const Folder folder;
  FolderSink sink(folder);
  BOOST_REQUIRE(KeptWriter(rig.ring, rig.layout, sink).run());
  for (std::size_t n = 0; n < rig.ring.size(); ++n) {
    const auto file = SnapshotFile::open(folder.file(snapshot_file_name(n + 4)));
    BOOST_REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
    BOOST_TEST((*file)->meta().whole == (n != 0));
    const SnapshotView view = rig.ring.view(n);
    Page kept, ring;
    for (std::uint32_t page = 0; page < Rig::kPages; ++page) {
      const bool known = page < 7 || page > 9 || (page == 8 && n > 0);
      BOOST_REQUIRE(view.read(page, 0, ring) == known);
      BOOST_REQUIRE((*file)->read_page(page, 0, kept) == known);
      if (known) BOOST_REQUIRE((kept == ring));
    }
    BOOST_TEST((*file)->problem().empty());
  }
}

BOOST_AUTO_TEST_CASE(a_folder_of_an_empty_ring_stays_empty) {
  Rig rig;
  const Folder folder;
  FolderSink sink(folder);
  KeptWriter writer(rig.ring, rig.layout, sink);
  BOOST_REQUIRE(writer.run());
  BOOST_TEST(std::filesystem::is_empty(folder.path()));
}

BOOST_AUTO_TEST_CASE(a_guest_of_zeroes_can_be_kept) {
  Rig rig;
  rig.push(1, {});
  const Folder folder;
  FolderSink sink(folder);
  BOOST_REQUIRE(KeptWriter(rig.ring, rig.layout, sink).run());
  const auto file = SnapshotFile::open(folder.file("000001.floesnap")).value();
  Page out;
  BOOST_TEST(file->read(Gpa(0x1000), out) == kPageBytes);
  BOOST_TEST((out == Page{}));
  BOOST_TEST(file->populated().empty());
}

BOOST_AUTO_TEST_CASE(one_snapshot_that_fails_keeps_the_others) {
  Rig rig;
  rig.fill(4);
  const Folder folder;
  FolderSink sink(folder);
  sink.fail_at = "000002.floesnap";
  KeptWriter writer(rig.ring, rig.layout, sink);
  BOOST_REQUIRE(writer.run());
  BOOST_TEST(writer.summary().snapshots == 3u);
  BOOST_REQUIRE(writer.summary().failed.size() == 1u);
  BOOST_TEST(writer.summary().failed[0] == "000002.floesnap: no space left");
  BOOST_TEST(sink.abandoned == 1);
  BOOST_TEST(!std::filesystem::exists(folder.file("000002.floesnap")));
  BOOST_TEST(SnapshotFile::open(folder.file("000004.floesnap")).has_value());
}

BOOST_AUTO_TEST_CASE(without_its_page_file_nothing_is_kept) {
  Rig rig;
  rig.fill(4);
  const Folder folder;
  FolderSink sink(folder);
  sink.fail_at = kPageFileName;
  KeptWriter writer(rig.ring, rig.layout, sink);
  const auto done = writer.run();
  BOOST_REQUIRE(!done);
  BOOST_TEST(done.error().message == "pages.floepages: no space left");
  BOOST_TEST(sink.abandoned == 1);
  BOOST_TEST(std::filesystem::is_empty(folder.path()));
}

BOOST_AUTO_TEST_CASE(a_writer_that_is_dropped_abandons_its_file) {
  Rig rig;
  rig.fill(1);
  const Folder folder;
  FolderSink sink(folder);
  {
    KeptWriter writer(rig.ring, rig.layout, sink);
    BOOST_REQUIRE(writer.step().value());
    BOOST_REQUIRE(writer.step().value());
  }
  BOOST_TEST(sink.abandoned == 1);
  BOOST_TEST(std::filesystem::is_empty(folder.path()));
}

BOOST_AUTO_TEST_CASE(names_sort_as_they_were_taken) {
  BOOST_TEST(snapshot_file_name(42) == "000042.floesnap");
  BOOST_TEST(snapshot_file_name(1234567) == "1234567.floesnap");
}

BOOST_AUTO_TEST_SUITE_END()
