// snapshots/pages.floepages: every distinct page of a run's kept snapshots, once, in compressed frames, each page with its XXH3-128.
// The layout is in docs/format.md.
//
// The file is hostile input: opening checks its shape and its index, reading a page checks that page. A frame that cannot be read costs its
// own pages and is told by problem(); nothing here crashes, hangs or allocates more than a small multiple of the file's size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/fd.hpp"
#include "base/may_block.hpp"
#include "base/result.hpp"
#include "freeze/byte_codec.hpp"

namespace floe::freeze {

inline constexpr const char* kPageFileName = "pages.floepages";

// Names a page file by its contents: the XXH3-128 of its index, which holds the hash of every page.
struct PageFileId {
  std::uint64_t low = 0, high = 0;
  bool operator==(const PageFileId&) const = default;
};

class PageFile {
 public:
  // Errors name the file and what is wrong with it.
  static Result<std::shared_ptr<PageFile>> open(const std::string& path);
  ~PageFile();
  PageFile(const PageFile&) = delete;
  PageFile& operator=(const PageFile&) = delete;

  PageFileId id() const { return id_; }
  // Pages are numbered from 1 to pages(); number 0 is the zero page.
  std::uint32_t pages() const { return static_cast<std::uint32_t>(hashes_.size()); }

  // False when there is no such page, when the range leaves it, or when its bytes are damaged. Any thread; one at a time gets in.
  bool read(std::uint32_t number, std::size_t offset, std::span<std::byte> out) const;

  // Reads every page once: an error names the first damage.
  Result<> verify() const;
  // The first damage met so far, empty if none.
  std::string problem() const;

 private:
  struct Frame {
    std::uint64_t offset = 0;
    std::uint32_t stored = 0;
  };
  struct Cached {
    std::uint32_t frame = 0;  // + 1; 0: nothing
    std::uint64_t used = 0;
    std::vector<std::byte> bytes;
    std::vector<bool> good;
  };
  struct Context;

  PageFile() = default;
  Result<> load(const std::string& path);
  Result<> load_index(std::uint64_t file_bytes, std::uint64_t page_count);
  std::size_t frame_pages(std::uint32_t frame) const;
  Cached& cached(std::uint32_t frame) const;
  void inflate(std::uint32_t frame, Cached& into) const;

  std::string path_;
  UniqueFd fd_;
  PageFileId id_;
  std::uint32_t pages_per_frame_ = 0;
  std::vector<Frame> frames_;
  std::vector<PageFileId> hashes_;

  mutable Checked<std::mutex> mutex_;
  mutable std::unique_ptr<Context> context_;
  mutable std::vector<Cached> cache_;
  mutable std::vector<std::uint32_t> cached_at_;  // by frame: place in cache_, + 1; 0: not there
  mutable std::uint64_t clock_ = 0;
  mutable std::string problem_;
};

// Builds such a file piece by piece: append header(), what add() returns (empty until a frame is full), then finish(). Needs the number of
// pages in advance; memory is one frame, and 16 bytes a page for the index.
class PageFileEncoder {
 public:
  static constexpr std::uint32_t kPagesPerFrame = 64;

  explicit PageFileEncoder(std::uint32_t page_count);
  ~PageFileEncoder();
  PageFileEncoder(const PageFileEncoder&) = delete;
  PageFileEncoder& operator=(const PageFileEncoder&) = delete;

  std::vector<std::byte> header() const;
  // The result is valid until the next call.
  std::span<const std::byte> add(std::span<const std::byte, kPageBytes> page);
  std::vector<std::byte> finish();
  // Known after finish().
  PageFileId id() const { return id_; }
  // False: compressing ran out of memory, and what was returned makes no valid file.
  bool ok() const { return ok_; }

 private:
  struct Context;
  std::span<const std::byte> flush();

  std::uint32_t page_count_;
  std::unique_ptr<Context> context_;
  std::vector<std::byte> frame_;
  std::vector<std::byte> output_;
  std::uint64_t offset_;
  std::vector<std::uint32_t> stored_;
  std::vector<PageFileId> hashes_;
  PageFileId id_;
  bool ok_ = true;
};

}  // namespace floe::freeze
