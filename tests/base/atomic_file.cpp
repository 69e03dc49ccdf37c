#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
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

// Begins to write `path` and is killed.
void killed_while_writing(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto writing = AtomicFile::create(path);
    if (writing && writing->append(as_bytes("half"))) ::raise(SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  BOOST_REQUIRE(WIFSIGNALED(status));
}
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

BOOST_AUTO_TEST_CASE(the_next_writer_removes_what_a_killed_one_left) {
  killed_while_writing(file("a"));
  BOOST_TEST(std::filesystem::exists(file("a.floepart")));
  BOOST_TEST(!std::filesystem::exists(file("a")));
  BOOST_TEST(write_file(file("a"), as_bytes("text")).has_value());
  BOOST_TEST(read_text(file("a")).value() == "text");
  BOOST_TEST(entries() == 1u);
}

BOOST_AUTO_TEST_CASE(two_writers_of_one_file_are_each_whole) {
  auto one = AtomicFile::create(file("a")), two = AtomicFile::create(file("a"));
  BOOST_REQUIRE(one.has_value());
  BOOST_REQUIRE(two.has_value());
  BOOST_TEST(one->append(as_bytes("first")).has_value());
  BOOST_TEST(two->append(as_bytes("second")).has_value());
  BOOST_TEST(one->commit().has_value());
  BOOST_TEST(read_text(file("a")).value() == "first");
  BOOST_TEST(two->commit().has_value());
  BOOST_TEST(read_text(file("a")).value() == "second");
  BOOST_TEST(entries() == 1u);
}

BOOST_AUTO_TEST_CASE(of_a_folder_only_what_dead_writers_left_is_removed) {
  std::filesystem::create_directories(path / "snapshots" / "deep");
  for (const char* name : {"a", "snapshots/b", "snapshots/deep/c"}) killed_while_writing(file(name));
  auto alive = AtomicFile::create(file("alive"));
  BOOST_REQUIRE(alive.has_value());
  BOOST_REQUIRE(write_file(file("d.part"), as_bytes("somebody else's")).has_value());
  std::filesystem::create_directory(path / "folder.floepart");
  std::filesystem::create_symlink(file("d.part"), path / "link.floepart");
  BOOST_REQUIRE(::mkfifo(file("fifo.floepart").c_str(), 0600) == 0);
  BOOST_TEST(remove_leftovers(path.string()) == 3u);
  BOOST_TEST(std::filesystem::is_empty(path / "snapshots" / "deep"));
  BOOST_TEST(entries() == 6u);
  BOOST_TEST(alive->commit().has_value());
  BOOST_TEST(remove_leftovers(file("no/such/folder")) == 0u);
}

// Somebody who looks for leftovers between a writer's open and its lock takes the file for one: the writer makes another.
BOOST_AUTO_TEST_CASE(writers_and_those_who_clean_up_do_not_harm_each_other) {
  const pid_t cleaner = ::fork();
  if (cleaner == 0)
    for (;;) remove_leftovers(path.string());
  unsigned failed = 0;
  for (unsigned n = 0; n < 2000; ++n) {
    auto writing = AtomicFile::create(file("a"));
    // No sync here: it is about names.
    if (!writing || !writing->append(as_bytes("text")) || entries() == 0) ++failed;
  }
  ::kill(cleaner, SIGKILL);
  ::waitpid(cleaner, nullptr, 0);
  BOOST_TEST(failed == 0u);
  BOOST_TEST(entries() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
