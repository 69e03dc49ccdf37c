// Hostile kept files. The first input byte chooses the file and whether its magic, version and checksums are made right first: without
// that, no input would ever come past them.
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "freeze/page_file.hpp"
#include "freeze/snapshot_file.hpp"

using namespace floe;
using namespace floe::freeze;

namespace {

using Bytes = std::vector<std::byte>;
using Page = std::array<std::byte, kPageBytes>;

void require(bool held) {
  if (!held) std::abort();
}

// A file that exists only in memory, with a path.
struct MemoryFile {
  UniqueFd fd{::memfd_create("floe-fuzz", MFD_CLOEXEC)};
  explicit MemoryFile(std::span<const std::byte> bytes) {
    require(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd.get()); }
};

template <class T>
void set(Bytes& bytes, std::size_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}
template <class T>
T get(const Bytes& bytes, std::size_t at) {
  T value{};
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

void set_hash(Bytes& bytes, std::size_t at, std::span<const std::byte> of) {
  const XXH128_hash_t hash = XXH3_128bits(of.data(), of.size());
  set(bytes, at, hash.low64);
  set(bytes, at + 8, hash.high64);
}

void set_magic(Bytes& bytes, std::size_t at, const char* magic) {
  std::memcpy(bytes.data() + at, magic, 8);
}

Bytes encode_pages(std::uint32_t count) {
  PageFileEncoder encoder(count);
  Bytes file = encoder.header();
  const auto append = [&file](std::span<const std::byte> bytes) { file.insert(file.end(), bytes.begin(), bytes.end()); };
  for (std::uint32_t n = 1; n <= count; ++n) {
    Page page{};
    std::memcpy(page.data() + 64, &n, sizeof n);
    append(encoder.add(page));
  }
  append(encoder.finish());
  return file;
}

const std::shared_ptr<PageFile>& good_pages() {
  static const MemoryFile file(encode_pages(5));
  static const auto pages = PageFile::open(file.path()).value();
  return pages;
}

void repair_snapshot(Bytes& bytes) {
  if (bytes.size() < 72) return;
  set_magic(bytes, 0, "FLOESNAP");
  set(bytes, 8, std::uint32_t{1});
  set(bytes, 12, get<std::uint32_t>(bytes, 12) & 1);
  if (get<std::uint32_t>(bytes, 12) == 0) set(bytes, 16, std::uint64_t{bytes.size() - 72});
  set(bytes, 24, std::uint64_t{bytes.size() - 72});
  set(bytes, 32, good_pages()->id().low);
  set(bytes, 40, good_pages()->id().high);
  set_hash(bytes, 48, std::span(bytes).subspan(72));
  set(bytes, 64, std::uint64_t{XXH3_64bits(bytes.data(), 64)});
}

void repair_pages(Bytes& bytes) {
  if (bytes.size() < 80) return;
  set_magic(bytes, 0, "FLOEPAGE");
  set(bytes, 8, std::uint32_t{1});
  const std::uint64_t per_frame = get<std::uint32_t>(bytes, 12) % 8 + 1;
  const std::uint64_t pages = get<std::uint64_t>(bytes, 16) % 64;
  set(bytes, 12, static_cast<std::uint32_t>(per_frame));
  set(bytes, 16, pages);
  set(bytes, 24, std::uint64_t{XXH3_64bits(bytes.data(), 24)});
  const std::uint64_t index_bytes = (pages + per_frame - 1) / per_frame * 4 + pages * 16;
  if (bytes.size() < 80 + index_bytes) return;
  const std::size_t footer = bytes.size() - 48;
  const std::size_t index = footer - index_bytes;
  // The last frame's size is what makes the sum right, when it can be.
  std::uint64_t left = index - 32;
  for (std::uint64_t n = 0, frames = (pages + per_frame - 1) / per_frame; n < frames; ++n) {
    const std::uint64_t stored = n + 1 == frames ? left : std::min<std::uint64_t>(left, get<std::uint32_t>(bytes, index + n * 4));
    set(bytes, index + n * 4, static_cast<std::uint32_t>(stored));
    left -= stored;
  }
  set_magic(bytes, footer, "FLOEPGIX");
  set(bytes, footer + 8, std::uint64_t{index});
  set(bytes, footer + 16, index_bytes);
  set_hash(bytes, footer + 24, std::span(bytes).subspan(index, index_bytes));
  set(bytes, footer + 40, std::uint64_t{XXH3_64bits(bytes.data() + footer, 40)});
}

void try_pages(const Bytes& bytes) {
  const MemoryFile memory(bytes);
  const auto file = PageFile::open(memory.path());
  if (!file) {
    require(!file.error().message.empty());
    return;
  }
  Page page;
  bool all = true;
  for (std::uint32_t n = 0; n <= (*file)->pages() && n < 200; ++n) all = (*file)->read(n, 0, page) && all;
  require(all || !(*file)->problem().empty());
  require((*file)->verify().has_value() == (*file)->problem().empty());
}

void try_snapshot(const Bytes& bytes) {
  const MemoryFile memory(bytes);
  const auto file = SnapshotFile::open(memory.path(), good_pages());
  if (!file) {
    require(!file.error().message.empty());
    return;
  }
  Page page;
  for (const walkers::PhysRange& range : (*file)->populated()) {
    require(range.bytes > 0);
    require((*file)->read(range.start, page) == kPageBytes);
    require((*file)->read(range.start + (range.bytes - 1), std::span(page).first(1)) == 1);
  }
  for (const RamSlot& slot : (*file)->layout().slots()) {
    require((*file)->read(slot.start, page) == kPageBytes);
    (*file)->read(slot.start + (slot.bytes - 1), page);
    (*file)->read(slot.start - 1, page);
  }
  const auto decoded = decode_snapshot(bytes, "input");
  require(decoded.has_value());
  const auto again = decode_snapshot(encode_snapshot(*decoded), "again");
  require(again.has_value() && again->runs.size() == decoded->runs.size() && again->meta.sequence == decoded->meta.sequence);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  Bytes bytes(input.begin(), input.end());
  if (data[0] & 1) {
    if (data[0] & 2) repair_pages(bytes);
    try_pages(bytes);
  } else {
    if (data[0] & 2) repair_snapshot(bytes);
    try_snapshot(bytes);
  }
  return 0;
}
