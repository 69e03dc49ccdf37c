#include "freeze/page_file.hpp"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "base/file.hpp"

namespace floe::freeze {
namespace {

constexpr std::string_view kMagic = "FLOEPAGE";
constexpr std::string_view kFooterMagic = "FLOEPGIX";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 32, kFooterBytes = 48;
constexpr std::uint32_t kMaxPagesPerFrame = 1024;
// A walk goes through the guest's memory at random, and a frame takes 150 us to decompress: a big map, and the pages its elements share
// frames with, should fit.
constexpr std::size_t kCacheBytes = std::size_t{64} << 20;
constexpr int kLevel = 1;

PageFileId hash_of(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

bool is_magic(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

void put_checksum(Encoder& encoder) {
  encoder.put(checksum(encoder.bytes()));
}

}  // namespace

struct PageFile::Context {
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  std::vector<std::byte> stored;
  ~Context() { ZSTD_freeDCtx(zstd); }
};

PageFile::~PageFile() = default;

Result<std::shared_ptr<PageFile>> PageFile::open(const std::string& path) {
  auto file = std::shared_ptr<PageFile>(new PageFile);
  if (auto loaded = file->load(path); !loaded) return fail(std::move(loaded).error());
  return file;
}

Result<> PageFile::load(const std::string& path) {
  path_ = path;
  std::uint64_t file_bytes = 0;
  auto fd = open_regular(path, file_bytes);
  if (!fd) return fail(std::move(fd).error());
  fd_ = std::move(*fd);
  std::array<std::byte, kHeaderBytes> header;
  if (file_bytes < kHeaderBytes || !read_exactly(fd_.get(), 0, header) || !is_magic(header, kMagic))
    return fail(path + " is not a floe page file");
  Decoder in(std::span<const std::byte>(header).subspan(kMagic.size()));
  const auto version = in.get<std::uint32_t>();
  pages_per_frame_ = in.get<std::uint32_t>();
  const auto page_count = in.get<std::uint64_t>();
  if (version != kVersion)
    return fail(path + " has version " + std::to_string(version) + ", this floe reads version " + std::to_string(kVersion));
  if (in.get<std::uint64_t>() != checksum(std::span(header).first(kHeaderBytes - 8)))
    return fail(path + " is damaged: wrong header checksum");
  if (pages_per_frame_ == 0 || pages_per_frame_ > kMaxPagesPerFrame || page_count >= 0xffff'ffff)
    return fail(path + " is damaged: " + std::to_string(page_count) + " pages, " + std::to_string(pages_per_frame_) + " in a frame");
  context_ = std::make_unique<Context>();
  if (!context_->zstd) return fail(Error(ENOMEM, "creating a zstd context"));
  return load_index(file_bytes, page_count);
}

Result<> PageFile::load_index(std::uint64_t file_bytes, std::uint64_t page_count) {
  const auto damaged = [this](const char* reason) { return fail(path_ + " is damaged: " + reason); };
  const std::uint64_t frame_count = (page_count + pages_per_frame_ - 1) / pages_per_frame_;
  const std::uint64_t index_bytes = frame_count * sizeof(std::uint32_t) + page_count * sizeof(PageFileId);
  if (file_bytes < kHeaderBytes + index_bytes + kFooterBytes) return damaged("it is cut short");

  std::array<std::byte, kFooterBytes> footer;
  if (!read_exactly(fd_.get(), file_bytes - kFooterBytes, footer)) return damaged("its end cannot be read");
  if (!is_magic(footer, kFooterMagic)) return damaged("it does not end with an index, it may be cut short");
  Decoder in(std::span<const std::byte>(footer).subspan(kFooterMagic.size()));
  const auto index_offset = in.get<std::uint64_t>();
  if (in.get<std::uint64_t>() != index_bytes || index_offset != file_bytes - kFooterBytes - index_bytes)
    return damaged("its index is not where it should be");
  id_ = {in.get<std::uint64_t>(), in.get<std::uint64_t>()};
  if (in.get<std::uint64_t>() != checksum(std::span(footer).first(kFooterBytes - 8))) return damaged("wrong footer checksum");

  std::vector<std::byte> index(index_bytes);  // the file is at least as long
  if (!read_exactly(fd_.get(), index_offset, index)) return damaged("its index cannot be read");
  if (hash_of(index) != id_) return damaged("wrong index checksum");
  Decoder entries(index);
  std::uint64_t at = kHeaderBytes;
  frames_.resize(frame_count);
  for (Frame& frame : frames_) {
    frame = {at, entries.get<std::uint32_t>()};
    at += frame.stored;
  }
  if (at != index_offset) return damaged("its frames do not fill it");
  for (std::uint32_t n = 0; n < frames_.size(); ++n)
    if (frames_[n].stored > ZSTD_compressBound(frame_pages(n) * kPageBytes)) return damaged("a frame is longer than its pages");
  hashes_.resize(page_count);
  for (PageFileId& hash : hashes_) hash = {entries.get<std::uint64_t>(), entries.get<std::uint64_t>()};
  cache_.resize(std::clamp<std::size_t>(frame_count, 2, std::max<std::size_t>(2, kCacheBytes / (pages_per_frame_ * kPageBytes))));
  cached_at_.resize(frame_count);
  return {};
}

std::size_t PageFile::frame_pages(std::uint32_t frame) const {
  return std::min<std::uint64_t>(pages_per_frame_,
                                 hashes_.empty() ? pages_per_frame_ : hashes_.size() - std::uint64_t{frame} * pages_per_frame_);
}

bool PageFile::read(std::uint32_t number, std::size_t offset, std::span<std::byte> out) const {
  if (number > pages() || offset > kPageBytes || out.size() > kPageBytes - offset) return false;
  if (number == 0) {
    std::fill(out.begin(), out.end(), std::byte{0});
    return true;
  }
  const std::uint32_t page = number - 1;
  const std::lock_guard lock(mutex_);
  const Cached& frame = cached(page / pages_per_frame_);
  const std::size_t place = page % pages_per_frame_;
  if (!frame.good[place]) return false;
  std::copy_n(frame.bytes.begin() + static_cast<std::ptrdiff_t>(place * kPageBytes + offset), out.size(), out.begin());
  return true;
}

std::string PageFile::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

Result<> PageFile::verify() const {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t frame = 0; frame < frames_.size(); ++frame) cached(frame);
  if (!problem_.empty()) return fail(problem_);
  return {};
}

PageFile::Cached& PageFile::cached(std::uint32_t frame) const {
  if (const std::uint32_t place = cached_at_[frame]; place != 0) {
    Cached& hit = cache_[place - 1];
    hit.used = ++clock_;
    return hit;
  }
  const auto oldest = std::min_element(cache_.begin(), cache_.end(), [](const Cached& a, const Cached& b) { return a.used < b.used; });
  if (oldest->frame != 0) cached_at_[oldest->frame - 1] = 0;
  oldest->frame = 0;
  inflate(frame, *oldest);
  oldest->frame = frame + 1;
  oldest->used = ++clock_;
  cached_at_[frame] = static_cast<std::uint32_t>(oldest - cache_.begin()) + 1;
  return *oldest;
}

void PageFile::inflate(std::uint32_t frame, Cached& into) const {
  const std::size_t count = frame_pages(frame);
  const auto note = [this](std::string what) {
    if (problem_.empty()) problem_ = path_ + " is damaged: " + std::move(what);
  };
  into.bytes.resize(count * kPageBytes);
  into.good.assign(count, false);
  context_->stored.resize(frames_[frame].stored);
  if (!read_exactly(fd_.get(), frames_[frame].offset, context_->stored)) return note("frame " + std::to_string(frame) + " cannot be read");
  if (ZSTD_decompressDCtx(context_->zstd, into.bytes.data(), into.bytes.size(), context_->stored.data(), context_->stored.size()) !=
      into.bytes.size())
    return note("frame " + std::to_string(frame) + " does not decompress");
  for (std::size_t n = 0; n < count; ++n) {
    const std::uint64_t page = std::uint64_t{frame} * pages_per_frame_ + n;
    into.good[n] = hash_of(std::span(into.bytes).subspan(n * kPageBytes, kPageBytes)) == hashes_[page];
    if (!into.good[n]) note("page " + std::to_string(page + 1) + " has other bytes than were written");
  }
}

struct PageFileEncoder::Context {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  ~Context() { ZSTD_freeCCtx(zstd); }
};

PageFileEncoder::PageFileEncoder(std::uint32_t page_count)
    : page_count_(page_count), context_(std::make_unique<Context>()), offset_(kHeaderBytes) {
  frame_.reserve(kPagesPerFrame * kPageBytes);
  output_.resize(ZSTD_compressBound(kPagesPerFrame * kPageBytes));
  hashes_.reserve(page_count);
}

PageFileEncoder::~PageFileEncoder() = default;

std::vector<std::byte> PageFileEncoder::header() const {
  Encoder out;
  out.append(std::as_bytes(std::span(kMagic)));
  out.put(kVersion);
  out.put(kPagesPerFrame);
  out.put(std::uint64_t{page_count_});
  put_checksum(out);
  return std::move(out).take();
}

std::span<const std::byte> PageFileEncoder::add(std::span<const std::byte, kPageBytes> page) {
  hashes_.push_back(hash_of(page));
  frame_.insert(frame_.end(), page.begin(), page.end());
  return frame_.size() == kPagesPerFrame * kPageBytes ? flush() : std::span<const std::byte>{};
}

std::span<const std::byte> PageFileEncoder::flush() {
  const std::size_t stored = ZSTD_compressCCtx(context_->zstd, output_.data(), output_.size(), frame_.data(), frame_.size(), kLevel);
  frame_.clear();
  ok_ = ok_ && !ZSTD_isError(stored);  // into a buffer of ZSTD_compressBound() it only fails without memory
  const std::size_t bytes = ZSTD_isError(stored) ? 0 : stored;
  stored_.push_back(static_cast<std::uint32_t>(bytes));
  offset_ += bytes;
  return std::span(output_).first(bytes);
}

std::vector<std::byte> PageFileEncoder::finish() {
  Encoder out;
  if (!frame_.empty()) out.append(flush());
  Encoder index;
  for (const std::uint32_t stored : stored_) index.put(stored);
  for (const PageFileId& hash : hashes_) {
    index.put(hash.low);
    index.put(hash.high);
  }
  id_ = hash_of(index.bytes());
  Encoder footer;
  footer.append(std::as_bytes(std::span(kFooterMagic)));
  footer.put(offset_);
  footer.put(std::uint64_t{index.bytes().size()});
  footer.put(id_.low);
  footer.put(id_.high);
  put_checksum(footer);
  out.append(index.bytes());
  out.append(footer.bytes());
  return std::move(out).take();
}

}  // namespace floe::freeze
