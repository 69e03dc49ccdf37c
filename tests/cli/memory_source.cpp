#include "cli/memory_source.hpp"

#include <boost/test/unit_test.hpp>
#include <string>

#include "tests/freeze/kept_files.hpp"

using namespace floe;
using namespace floe::cli;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

// A run's folder with snapshots 7, 8 and 9, a second apart. Page 1 of snapshot n has its n-th content.
struct Fixture {
  freeze::test::Folder run;
  std::filesystem::path snapshots = run.path() / "snapshots";

  Fixture() {
    std::filesystem::create_directory(snapshots);
    std::vector<freeze::test::Page> pages;
    for (std::uint64_t n = 7; n <= 9; ++n) pages.push_back(freeze::test::page_of(n));
    const auto id = freeze::test::write_page_file((snapshots / "pages.floepages").string(), pages);
    for (std::uint32_t n = 7; n <= 9; ++n) {
      freeze::KeptSnapshot snapshot;
      snapshot.meta.sequence = n;
      snapshot.meta.monotonic_ns = n * kSecond;
      snapshot.meta.realtime_ns = (1'000'000 + n) * kSecond;
      freeze::VcpuState vcpu;
      vcpu.ip = 0xffffffff81000000 + n;
      vcpu.cr3 = 0x1000;
      snapshot.machine.vcpus.push_back(vcpu);
      snapshot.layout = freeze::RamLayout::create({{Gpa(0), 4 * kPageBytes, 0}}).value();
      snapshot.pages = id;
      snapshot.runs = {{0, 1, 0}, {1, 1, n - 6}, {2, 2, 0}};
      freeze::test::write_file(file(n), freeze::encode_snapshot(snapshot));
    }
  }
  std::string file(std::uint32_t n) const { return (snapshots / ("00000" + std::to_string(n) + ".floesnap")).string(); }
};

bool has_page(const MemorySource& source, std::uint64_t content) {
  freeze::test::Page page;
  return source.memory()->read(Gpa(kPageBytes), page) == kPageBytes && page == freeze::test::page_of(content);
}

std::string failure(const std::string& path, std::optional<std::chrono::nanoseconds> before = std::nullopt) {
  const auto source = MemorySource::open(path, before);
  BOOST_REQUIRE(!source);
  return source.error().message;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(memory_source, Fixture)

BOOST_AUTO_TEST_CASE(a_folder_is_its_newest_snapshot_or_the_one_asked_for) {
  const auto chosen = [this](std::optional<std::chrono::nanoseconds> before) {
    const auto source = MemorySource::open(run.path().string(), before);
    BOOST_REQUIRE_MESSAGE(source, source.error().message);
    return source->snapshot()->meta().sequence;
  };
  BOOST_TEST(chosen(std::nullopt) == 9u);
  BOOST_TEST(chosen(0s) == 9u);
  BOOST_TEST(chosen(900ms) == 8u);
  BOOST_TEST(chosen(1400ms) == 8u);
  BOOST_TEST(chosen(100s) == 7u);
  BOOST_TEST(MemorySource::open(snapshots.string()).value().snapshot()->meta().sequence == 9u);
}

BOOST_AUTO_TEST_CASE(a_snapshot_has_its_memory_and_its_vcpus) {
  const auto source = MemorySource::open(file(8));
  BOOST_REQUIRE_MESSAGE(source, source.error().message);
  BOOST_TEST(source->description() == "snapshot 8 of 1970-01-12 13:46:48.000 UTC");
  BOOST_TEST(has_page(*source, 8));
  BOOST_REQUIRE(source->cpus().size() == 1u);
  BOOST_TEST(source->cpus()[0].rip == 0xffffffff81000008);
  BOOST_TEST(source->cpus()[0].cr3().value() == 0x1000u);
  BOOST_TEST(source->problems().empty());
  BOOST_TEST(!source->live());
  const auto kernel = source->open_kernel();
  BOOST_REQUIRE(!kernel);
  BOOST_TEST(kernel.error().message.starts_with(file(8)));
}

BOOST_AUTO_TEST_CASE(as_a_core_it_is_the_same) {
  const auto source = MemorySource::open(file(9)).value();
  const std::string path = run.file("core");
  const auto written = source.write_core(path, nullptr);
  BOOST_REQUIRE_MESSAGE(written, written.error().message);
  const auto core = MemorySource::open(path);
  BOOST_REQUIRE_MESSAGE(core, core.error().message);
  BOOST_TEST(core->description() == "core of " + source.description());
  BOOST_TEST(core->realtime_ns() == source.realtime_ns());
  BOOST_TEST(has_page(*core, 9));
  BOOST_TEST(core->problems().empty());
  BOOST_REQUIRE(core->cpus().size() == 1u);
  BOOST_TEST(core->cpus()[0].rip == source.cpus()[0].rip);
  BOOST_TEST(core->cpus()[0].cr3().value() == 0x1000u);
  freeze::test::Page page;
  BOOST_TEST(core->memory()->read(Gpa(3 * kPageBytes), page) == kPageBytes);
  BOOST_TEST(core->memory()->read(Gpa(4 * kPageBytes), page) == 0u);

  // And once more from there.
  BOOST_REQUIRE(core->write_core(run.file("again"), nullptr).has_value());
  BOOST_TEST((freeze::test::read_file(run.file("again")) == freeze::test::read_file(path)));
}

BOOST_AUTO_TEST_CASE(what_is_no_memory_is_named_and_said_why) {
  freeze::test::write_file(run.file("text"), std::vector(100, std::byte{'x'}));
  BOOST_TEST(failure(run.file("text")) == run.file("text") + ": not an ELF file");
  BOOST_TEST(mentions(failure(run.file("none")), "No such file"));
  BOOST_TEST(mentions(failure((snapshots / "pages.floepages").string()), "name one of the snapshots"));
  BOOST_TEST(mentions(failure(file(7), 1s), "is one instant"));
  const freeze::test::Folder empty;
  BOOST_TEST(mentions(failure(empty.path().string()), "no snapshots"));
  std::filesystem::remove(snapshots / "pages.floepages");
  BOOST_TEST(mentions(failure(file(7)), "pages.floepages"));
}

BOOST_AUTO_TEST_CASE(damage_is_told_when_it_is_met) {
  auto bytes = freeze::test::read_file((snapshots / "pages.floepages").string());
  bytes[40] ^= std::byte{0xff};  // within the first frame
  freeze::test::write_file((snapshots / "pages.floepages").string(), bytes);
  const auto source = MemorySource::open(file(7)).value();
  BOOST_TEST(!source.damaged());
  BOOST_TEST(!has_page(source, 7));
  BOOST_TEST(source.damaged());
  BOOST_REQUIRE(source.problems().size() == 1u);
  const auto written = source.write_core(run.file("core"), nullptr);
  BOOST_REQUIRE_MESSAGE(written, written.error().message);
  BOOST_TEST(written->absent_bytes == kPageBytes);
  freeze::test::Page page;
  BOOST_TEST(MemorySource::open(run.file("core")).value().memory()->read(Gpa(kPageBytes), page) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
