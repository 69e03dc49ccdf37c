#include "base/atomic_file.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "base/file.hpp"

using namespace floe;

namespace {
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("floe-test-atomic" + std::to_string(::getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
  std::size_t entries() const { return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {})); }
};
}  // namespace

BOOST_FIXTURE_TEST_SUITE(atomic_file, Folder)

BOOST_AUTO_TEST_CASE(committed_is_whole) {
  BOOST_TEST(write_file(file("a"), as_bytes("text")).has_value());
  BOOST_TEST(read_text(file("a")).value() == "text");
  BOOST_TEST(entries() == 1u);
}

BOOST_AUTO_TEST_CASE(not_committed_leaves_what_was_there) {
  BOOST_REQUIRE(write_file(file("a"), as_bytes("old")).has_value());
  {
    auto writing = AtomicFile::create(file("a"));
    BOOST_REQUIRE(writing.has_value());
    BOOST_TEST(writing->append(as_bytes("new")).has_value());
  }
  BOOST_TEST(read_text(file("a")).value() == "old");
  BOOST_TEST(entries() == 1u);
}

BOOST_AUTO_TEST_CASE(errors_name_the_path) {
  const auto made = AtomicFile::create(file("no/such/folder"));
  BOOST_REQUIRE(!made);
  BOOST_TEST(made.error().message.find("no/such/folder") != std::string::npos);
  const auto read = read_file(file("missing"));
  BOOST_REQUIRE(!read);
  BOOST_TEST(read.error().code == ENOENT);
  BOOST_TEST(read_file(path.string()).error().code == EISDIR);
}

BOOST_AUTO_TEST_CASE(reading_is_bounded) {
  BOOST_REQUIRE(write_file(file("big"), std::vector<std::byte>(100'000)).has_value());
  BOOST_TEST(read_file(file("big"), 100'000).has_value());
  BOOST_TEST(read_file(file("big"), 99'999).error().code == EFBIG);
  BOOST_TEST(read_text("/proc/self/status").value().find("Name:") == 0u);  // a file that says size 0
}

BOOST_AUTO_TEST_SUITE_END()
