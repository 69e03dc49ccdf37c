// Pages to put into kept files, and folders for those.
#pragma once

#include <array>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "freeze/kept_writer.hpp"
#include "tests/folder.hpp"

namespace floe::freeze::test {

using Page = std::array<std::byte, kPageBytes>;

// Zero for 0; noise for even contents, compressible for odd ones.
inline Page page_of(std::uint64_t content) {
  Page page{};
  if (content == 0) return page;
  std::mt19937_64 random(content);
  const std::size_t words = content % 2 == 0 ? 512 : 4;
  for (std::size_t n = 0; n < words; ++n) {
    const std::uint64_t word = random();
    std::memcpy(page.data() + n * 8, &word, sizeof word);
  }
  return page;
}

using floe::test::Folder;

inline void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
}

inline std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Whole or absent, as far as one process can tell. `fail_at` names a file whose appending fails.
class FolderSink final : public FileSink {
 public:
  explicit FolderSink(const Folder& folder) : folder_(folder) {}
  Result<> begin(std::string_view name) override {
    name_ = name;
    bytes_.clear();
    return {};
  }
  Result<> append(std::span<const std::byte> bytes) override {
    if (name_ == fail_at) return fail("no space left");
    largest = std::max(largest, bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return {};
  }
  Result<> commit() override {
    write_file(folder_.file(name_), bytes_);
    return {};
  }
  void abandon() override {
    bytes_.clear();
    ++abandoned;
  }

  std::string fail_at;
  std::size_t largest = 0;
  int abandoned = 0;

 private:
  const Folder& folder_;
  std::string name_;
  std::vector<std::byte> bytes_;
};

// The page file of the given pages, written to `path`.
inline PageFileId write_page_file(const std::string& path, const std::vector<Page>& pages) {
  PageFileEncoder encoder(static_cast<std::uint32_t>(pages.size()));
  std::vector<std::byte> file = encoder.header();
  const auto append = [&file](std::span<const std::byte> bytes) { file.insert(file.end(), bytes.begin(), bytes.end()); };
  for (const Page& page : pages) append(encoder.add(page));
  append(encoder.finish());
  write_file(path, file);
  return encoder.id();
}

}  // namespace floe::freeze::test
