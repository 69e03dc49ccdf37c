#include "freeze/snapshot_file.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <vector>

#include "tests/freeze/kept_files.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::test;

namespace {

KeptSnapshot example(PageFileId id) {
  KeptSnapshot kept;
  kept.meta = {.sequence = 42,
               .tick = 43,
               .monotonic_ns = 1,
               .realtime_ns = 2,
               .guest_clock_ns = 3,
               .precopy_us = 4,
               .kick_to_park_us = 5,
               .capture_us = 6,
               .thaw_us = 7,
               .pause_us = 8,
               .dirty_pages = 9,
               .residual_pages = 10,
               .passes = 11,
               .whole = false};
  kept.machine.vcpus.push_back({0, 0xffff'ffff'8100'0000, 0xffff'c900'0000'0010, 0x1000, {std::byte{1}, std::byte{2}}});
  kept.machine.vcpus.push_back({1, 5, 6, 7, {}});
  kept.machine.devices.push_back({"console", {std::byte{9}}});
  kept.machine.devices.push_back({"", {}});
  kept.layout = RamLayout::create({{Gpa(0), 4 * kPageBytes, 0}, {Gpa(0x10'0000), 4 * kPageBytes, 4}}).value();
  kept.pages = id;
  // Pages: 0, 1, 2, 0 | 0, 3, 1, 2
  kept.runs = {{0, 1, 0}, {1, 2, 1}, {3, 2, 0}, {5, 1, 3}, {6, 2, 1}};
  return kept;
}

struct Files {
  Folder folder;
  std::vector<Page> pages{page_of(1), page_of(3), page_of(5)};
  PageFileId id;
  std::string path;

  Files() {
    id = write_page_file(folder.file(kPageFileName), pages);
    path = folder.file("000042.floesnap");
    write(example(id));
  }
  void write(const KeptSnapshot& kept) { write_file(path, encode_snapshot(kept)); }
  std::string error() const {
    const auto opened = SnapshotFile::open(path);
    return opened ? "" : opened.error().message;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(snapshot_file)

BOOST_AUTO_TEST_CASE(pages_that_were_not_captured_are_absent) {
  Files files;
  KeptSnapshot kept = example(files.id);
  kept.runs[2].number = kept.runs[3].number = kAbsentNumber;  // pages 3, 4 and 5
  files.write(kept);
  const auto opened = SnapshotFile::open(files.path);
  BOOST_REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
  const SnapshotFile& file = **opened;
  Page page;
  BOOST_TEST(file.read_page(2, 0, page));
  for (std::uint32_t n = 3; n <= 5; ++n) BOOST_TEST(!file.read_page(n, 0, page));
  BOOST_TEST(file.read_page(6, 0, page));
  BOOST_TEST(file.read(Gpa(2 * kPageBytes + 1), std::span(page)) == kPageBytes - 1);
  BOOST_TEST(file.problem().empty());
  const auto populated = file.populated();
  BOOST_REQUIRE(populated.size() == 2u);
  BOOST_TEST(populated[0].start.value == kPageBytes);
  BOOST_TEST(populated[0].bytes == 2 * kPageBytes);
  BOOST_TEST(populated[1].start.value == 0x10'0000 + 2 * kPageBytes);
}

BOOST_AUTO_TEST_CASE(all_that_was_written_comes_back) {
  const Files files;
  const auto opened = SnapshotFile::open(files.path);
  BOOST_REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
  const SnapshotFile& file = **opened;
  const SnapshotMeta& meta = file.meta();
  BOOST_TEST(meta.sequence == 42u);
  BOOST_TEST(meta.tick == 43u);
  BOOST_TEST(meta.guest_clock_ns == 3u);
  BOOST_TEST(meta.pause_us == 8u);
  BOOST_TEST(meta.passes == 11u);
  BOOST_TEST(!meta.whole);
  const MachineState& machine = file.machine();
  BOOST_REQUIRE(machine.vcpus.size() == 2u);
  BOOST_TEST(machine.vcpus[0].ip == 0xffff'ffff'8100'0000u);
  BOOST_TEST(machine.vcpus[1].cr3 == 7u);
  BOOST_TEST((machine.vcpus[0].blob == std::vector<std::byte>{std::byte{1}, std::byte{2}}));
  BOOST_REQUIRE(machine.devices.size() == 2u);
  BOOST_TEST(machine.devices[0].name == "console");
  BOOST_TEST((machine.devices[0].blob == std::vector<std::byte>{std::byte{9}}));
  BOOST_TEST(file.layout().pages() == 8u);

  Page out;
  const std::array<std::uint64_t, 8> contents{0, 1, 3, 0, 0, 5, 1, 3};
  for (std::uint32_t page = 0; page < 8; ++page) {
    BOOST_REQUIRE(file.read_page(page, 0, out));
    BOOST_TEST((out == page_of(contents[page])));
  }
  BOOST_TEST(!file.read_page(8, 0, out));
  BOOST_TEST(file.read(Gpa(0x10'1000), out) == kPageBytes);
  BOOST_TEST((out == page_of(5)));
  BOOST_TEST(file.read(Gpa(4 * kPageBytes - 3), out) == 3u);
  BOOST_TEST(file.read(Gpa(4 * kPageBytes), out) == 0u);
  BOOST_TEST(file.read(Gpa(~std::uint64_t{0}), out) == 0u);

  const auto populated = file.populated();
  BOOST_REQUIRE(populated.size() == 2u);
  BOOST_TEST((populated[0].start == Gpa(0x1000)));
  BOOST_TEST(populated[0].bytes == 2 * kPageBytes);
  BOOST_TEST((populated[1].start == Gpa(0x10'1000)));
  BOOST_TEST(populated[1].bytes == 3 * kPageBytes);
  BOOST_TEST(file.problem() == "");
}

BOOST_AUTO_TEST_CASE(a_run_may_cross_from_slot_to_slot) {
  Files files;
  KeptSnapshot kept = example(files.id);
  kept.runs = {{0, 3, 0}, {3, 3, 1}, {6, 2, 0}};
  files.write(kept);
  const auto file = SnapshotFile::open(files.path).value();
  const auto populated = file->populated();
  BOOST_REQUIRE(populated.size() == 2u);
  BOOST_TEST((populated[0].start == Gpa(0x3000)));
  BOOST_TEST(populated[0].bytes == kPageBytes);
  BOOST_TEST((populated[1].start == Gpa(0x10'0000)));
  BOOST_TEST(populated[1].bytes == 2 * kPageBytes);
}

BOOST_AUTO_TEST_CASE(a_missing_or_foreign_page_file_is_named) {
  Files files;
  const std::string pages = files.folder.file(kPageFileName);
  write_page_file(pages, {page_of(7), page_of(9), page_of(11)});
  BOOST_TEST(files.error().find("another page file") != std::string::npos);
  BOOST_TEST(files.error().find(pages) != std::string::npos);
  std::filesystem::remove(pages);
  BOOST_TEST(files.error().find(pages) != std::string::npos);
  BOOST_TEST(files.error().find("missing") != std::string::npos);
  BOOST_TEST(SnapshotFile::open(files.path).error().code == ENOENT);
  BOOST_TEST(SnapshotFile::open(files.folder.file("000043.floesnap")).error().code == ENOENT);
}

BOOST_AUTO_TEST_CASE(one_page_file_serves_many_snapshots) {
  const Files files;
  const auto pages = PageFile::open(files.folder.file(kPageFileName)).value();
  const auto a = SnapshotFile::open(files.path, pages).value();
  const auto b = SnapshotFile::open(files.path, pages).value();
  BOOST_TEST((a->page_file() == b->page_file()));
}

BOOST_AUTO_TEST_CASE(every_flipped_bit_is_noticed) {
  const Files files;
  const auto pages = PageFile::open(files.folder.file(kPageFileName)).value();
  auto bytes = read_file(files.path);
  BOOST_REQUIRE(bytes.size() < 1000u);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto decoded = decode_snapshot(bytes, "flipped");
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    BOOST_TEST_INFO("bit " << bit);
    BOOST_REQUIRE(!decoded);
    BOOST_REQUIRE(decoded.error().message.find("flipped") == 0u);
  }
}

BOOST_AUTO_TEST_CASE(every_truncation_is_noticed) {
  const Files files;
  const auto bytes = read_file(files.path);
  for (std::size_t size = 0; size < bytes.size(); ++size) BOOST_REQUIRE(!decode_snapshot(std::span(bytes).first(size), "cut"));
  auto longer = bytes;
  longer.push_back(std::byte{0});
  BOOST_TEST(!decode_snapshot(longer, "longer"));
}

// Files with the right checksums and the wrong contents, as only a hostile or broken writer makes them.
BOOST_AUTO_TEST_CASE(well_packed_nonsense_is_refused) {
  Files files;
  const auto error_with = [&files](auto change) {
    KeptSnapshot kept = example(files.id);
    change(kept);
    files.write(kept);
    return files.error();
  };
  BOOST_TEST(error_with([](KeptSnapshot&) {}) == "");
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs.pop_back(); }).find("does not cover") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs.back().count = 3; }).find("does not cover") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs.back().count = 0; }).find("does not cover") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs[3].count = 0xffff'ffff; }).find("does not cover") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs[3].number = 4; }).find("does not have") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs[4].number = 0xffff'fffe; }) != "");
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.pages.low ^= 1; }).find("another page file") != std::string::npos);
  BOOST_TEST(error_with([](KeptSnapshot& k) { k.runs.clear(); }) != "");
}

BOOST_AUTO_TEST_CASE(blobs_of_zeroes_survive_the_ratio_check) {
  Files files;
  KeptSnapshot kept = example(files.id);
  kept.machine.devices.push_back({"frame buffer", std::vector<std::byte>(40 << 20)});
  files.write(kept);
  const auto file = SnapshotFile::open(files.path).value();
  BOOST_TEST(file->machine().devices.back().blob.size() == 40u << 20);
}

BOOST_AUTO_TEST_SUITE_END()
