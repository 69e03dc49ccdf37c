#include "freeze/page_file.hpp"

#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/freeze/kept_files.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::test;

namespace {

std::vector<Page> pages_of(std::uint64_t count, std::uint64_t step = 1) {
  std::vector<Page> pages;
  for (std::uint64_t n = 1; n <= count; ++n) pages.push_back(page_of(n * step));
  return pages;
}

std::string error_of(const std::string& path) {
  const auto opened = PageFile::open(path);
  return opened ? "" : opened.error().message;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(page_file)

BOOST_AUTO_TEST_CASE(every_page_comes_back) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  // Around the frame size, and more frames than the cache holds.
  for (const std::uint64_t count : {0, 1, 63, 64, 65, 17000}) {
    const auto pages = pages_of(count);
    const PageFileId id = write_page_file(path, pages);
    const auto file = PageFile::open(path);
    BOOST_REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
    BOOST_TEST(((*file)->id() == id));
    BOOST_REQUIRE((*file)->pages() == count);
    Page out;
    for (std::uint32_t n = 0; n <= count; ++n) {
      BOOST_REQUIRE((*file)->read(n, 0, out));
      BOOST_REQUIRE((out == (n == 0 ? Page{} : pages[n - 1])));
    }
    for (std::uint32_t n = static_cast<std::uint32_t>(count); n > 0; n -= std::min<std::uint32_t>(n, 50)) {
      BOOST_REQUIRE((*file)->read(n, 100, std::span(out).first(9)));
      BOOST_REQUIRE(std::equal(out.begin(), out.begin() + 9, pages[n - 1].begin() + 100));
    }
    BOOST_TEST(!(*file)->read(static_cast<std::uint32_t>(count) + 1, 0, out));
    BOOST_TEST(!(*file)->read(0, 1, out));
    BOOST_TEST(!(*file)->read(0, kPageBytes + 1, {}));
    BOOST_TEST((*file)->problem() == "");
    BOOST_TEST((*file)->verify().has_value());
  }
}

BOOST_AUTO_TEST_CASE(the_id_names_the_contents) {
  const Folder folder;
  const auto a = write_page_file(folder.file("a"), pages_of(10));
  const auto b = write_page_file(folder.file("b"), pages_of(10));
  const auto c = write_page_file(folder.file("c"), pages_of(10, 3));
  BOOST_TEST((a == b));
  BOOST_TEST(!(a == c));
}

BOOST_AUTO_TEST_CASE(what_is_no_page_file_is_refused_by_name) {
  const Folder folder;
  const std::string path = folder.file("x.floepages");
  const auto missing = PageFile::open(path);
  BOOST_REQUIRE(!missing);
  BOOST_TEST(missing.error().code == ENOENT);
  BOOST_TEST(missing.error().message.find(path) != std::string::npos);
  write_file(path, std::as_bytes(std::span("hello")));
  BOOST_TEST(error_of(path).find("not a floe page file") != std::string::npos);
  write_file(path, {});
  BOOST_TEST(error_of(path).find("not a floe page file") != std::string::npos);
  BOOST_TEST(error_of(folder.path().string()).find("not a regular file") != std::string::npos);
  BOOST_REQUIRE(::mkfifo(folder.file("fifo").c_str(), 0600) == 0);
  BOOST_TEST(error_of(folder.file("fifo")).find("not a regular file") != std::string::npos);

  write_page_file(path, pages_of(3));
  auto bytes = read_file(path);
  bytes[8] = std::byte{2};
  write_file(path, bytes);
  BOOST_TEST(error_of(path).find("version 2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(every_truncation_is_noticed) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  write_page_file(path, {page_of(1), page_of(3), page_of(5)});
  const auto whole = read_file(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_file(path, std::span(whole).first(size));
    BOOST_REQUIRE(error_of(path) != "");
  }
  auto longer = whole;
  longer.push_back(std::byte{0});
  write_file(path, longer);
  BOOST_TEST(error_of(path) != "");
}

BOOST_AUTO_TEST_CASE(every_flipped_bit_is_noticed_or_harmless) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  const std::vector<Page> pages{page_of(1), page_of(3), page_of(5)};
  write_page_file(path, pages);
  auto bytes = read_file(path);
  BOOST_REQUIRE(bytes.size() < 1000u);
  std::size_t harmless = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    write_file(path, bytes);
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto file = PageFile::open(path);
    if (!file) continue;
    bool noticed = false;
    for (std::uint32_t n = 1; n <= 3; ++n) {
      Page out;
      if ((*file)->read(n, 0, out))
        BOOST_REQUIRE((out == pages[n - 1]));
      else
        noticed = true;
    }
    BOOST_REQUIRE(noticed == !(*file)->problem().empty());
    BOOST_REQUIRE(noticed == !(*file)->verify().has_value());
    harmless += noticed ? 0 : 1;
  }
  BOOST_TEST(harmless < 16u);  // zstd's frame header has a bit or two without meaning
}

BOOST_AUTO_TEST_CASE(a_damaged_frame_costs_its_own_pages_only) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  const auto pages = pages_of(200, 2);
  write_page_file(path, pages);
  auto bytes = read_file(path);
  bytes[32 + 70 * kPageBytes] ^= std::byte{1};  // in the second frame: noise is stored as it is
  write_file(path, bytes);
  const auto file = PageFile::open(path).value();
  std::uint32_t bad = 0;
  for (std::uint32_t n = 1; n <= 200; ++n) {
    Page out;
    const bool readable = file->read(n, 0, out);
    BOOST_REQUIRE((readable || (n > 64 && n <= 128)));
    if (readable) BOOST_REQUIRE((out == pages[n - 1]));
    bad += readable ? 0 : 1;
  }
  BOOST_TEST(bad >= 1u);
  BOOST_TEST(file->problem().find(path) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_file_that_shrinks_while_open_is_an_error_not_a_crash) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  write_page_file(path, pages_of(200, 2));
  const auto file = PageFile::open(path).value();
  std::filesystem::resize_file(path, 100);
  Page out;
  BOOST_TEST(!file->read(150, 0, out));
  BOOST_TEST(file->problem().find("cannot be read") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(several_threads_may_read) {
  const Folder folder;
  const std::string path = folder.file(kPageFileName);
  const auto pages = pages_of(300);
  write_page_file(path, pages);
  const auto file = PageFile::open(path).value();
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (std::uint32_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (std::uint32_t n = 0; n < 300; ++n) {
        Page out;
        const std::uint32_t number = (n * 37 + t * 100) % 300 + 1;
        if (!file->read(number, 0, out) || out != pages[number - 1]) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_SUITE_END()
