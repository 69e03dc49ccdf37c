#include "bench/freeze/pages.hpp"

#include <fmt/format.h>
#include <time.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <vector>

#include "base/file.hpp"
#include "freeze/snapshot_file.hpp"
#include "freeze/snapshot_ring.hpp"

namespace floe::bench {
namespace {

using freeze::PageBytes;
using freeze::PageRef;
using freeze::PageStore;

constexpr unsigned kRounds = 11;
constexpr std::uint64_t kStoreBytes = std::uint64_t{2} << 30;

// A kept history in memory: every distinct page (0 is the zero page), and which is where in each snapshot.
struct History {
  std::vector<std::byte> bytes;
  std::vector<std::vector<std::uint32_t>> images;

  std::size_t pages() const { return bytes.size() / kPageBytes; }
  PageBytes page(std::size_t number) const { return PageBytes(bytes.data() + number * kPageBytes, kPageBytes); }
};

Result<History> load(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(folder, unreadable))
    if (entry.path().extension() == ".floesnap") files.push_back(entry.path().string());
  if (files.empty()) return fail(folder + ": no *.floesnap there; give the snapshots folder of a run that kept them");
  std::sort(files.begin(), files.end());
  auto pages = freeze::PageFile::open(folder + "/pages.floepages");
  if (!pages) return fail(std::move(pages.error()));
  History history;
  history.bytes.resize((std::size_t{(*pages)->pages()} + 1) * kPageBytes);
  for (std::uint32_t number = 1; number <= (*pages)->pages(); ++number)
    if (!(*pages)->read(number, 0, std::span(history.bytes).subspan(number * kPageBytes, kPageBytes))) return fail((*pages)->problem());
  for (const std::string& file : files) {
    auto text = read_file(file);
    if (!text) return fail(std::move(text.error()));
    auto snapshot = freeze::decode_snapshot(*text, file);
    if (!snapshot) return fail(std::move(snapshot.error()));
    std::vector<std::uint32_t>& image = history.images.emplace_back(snapshot->layout.pages());
    for (const freeze::PageRun& run : snapshot->runs)
      if (run.number != 0) std::iota(image.begin() + run.first, image.begin() + run.first + run.count, run.number);
    if (image.size() != history.images.front().size()) return fail(file + ": of another guest than the one before it");
  }
  return history;
}

// CPU time of this thread, ns for each of `count`.
template <class Body>
double charge(std::size_t count, Body&& body) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  };
  const double began = now();
  body();
  return (now() - began) / static_cast<double>(std::max<std::size_t>(count, 1));
}

Result<std::shared_ptr<PageStore>> make_store(int level = 1) {
  return PageStore::create({.byte_limit = kStoreBytes, .zstd_level = level, .hash = nullptr});
}

// Takes turns: `round` adds one value to each contender.
template <class Round>
void turns(const Settings& settings, Round&& round) {
  const unsigned rounds = settings.rounds > 0 ? settings.rounds : settings.quick ? 3 : kRounds;
  for (unsigned n = 0; n < rounds; ++n) round();
}

std::uint64_t hash_all(const History& history) {
  std::uint64_t all = 0;
  for (std::size_t n = 1; n < history.pages(); ++n) all ^= XXH3_128bits_withSeed(history.page(n).data(), kPageBytes, 1).low64;
  return all;
}

Row hash_row(const Settings& settings, const History& history) {
  Row row{.name = "pages.hash", .unit = "ns/page", .baseline = "copy"};
  Contender copy{.name = "copy"}, hash{.name = "XXH3-128"};
  const std::size_t count = history.pages() - 1;
  std::vector<std::byte> target(history.bytes.size());
  std::uint64_t sink = 0;
  turns(settings, [&] {
    copy.rounds.push_back(charge(count, [&] {
      for (std::size_t n = 1; n < history.pages(); ++n) std::memcpy(target.data() + n * kPageBytes, history.page(n).data(), kPageBytes);
    }));
    hash.rounds.push_back(charge(count, [&] { sink ^= hash_all(history); }));
  });
  hash.figures = {{"pages", static_cast<double>(count)}, {"check", static_cast<double>(sink & 0xff)}};
  row.contenders = {std::move(copy), std::move(hash)};
  return row;
}

Result<Row> store_row(const Settings& settings, const History& history) {
  Row row{.name = "pages.store", .unit = "ns/page", .baseline = "hash alone"};
  Contender hash{.name = "hash alone"}, fresh{.name = "new page"}, known{.name = "page that is there"}, zero{.name = "zero page"};
  const std::size_t count = history.pages() - 1;
  Result<> failed;
  std::uint64_t sink = 0;
  turns(settings, [&] {
    auto store = make_store();
    if (!store) {
      failed = fail(store.error());
      return;
    }
    (*store)->reserve(count);
    const auto put_all = [&] {
      for (std::size_t n = 1; n < history.pages(); ++n)
        if (const auto ref = (*store)->put(history.page(n)); !ref) failed = fail(ref.error());
    };
    hash.rounds.push_back(charge(count, [&] { sink ^= hash_all(history); }));
    fresh.rounds.push_back(charge(count, put_all));
    known.rounds.push_back(charge(count, put_all));
    zero.rounds.push_back(charge(count, [&] {
      for (std::size_t n = 1; n < history.pages(); ++n) (void)(*store)->put(history.page(0));
    }));
    const auto stats = (*store)->stats();
    if (stats.dedup_hits != stats.puts / 3 || stats.zero_hits != stats.puts / 3) failed = fail("a page was not what it was taken for");
  });
  if (!failed) return fail(failed.error());
  hash.figures = {{"check", static_cast<double>(sink & 0xff)}};
  row.contenders = {std::move(hash), std::move(fresh), std::move(known), std::move(zero)};
  return row;
}

// Compressing every page, and reading 1,000 of them back.
Result<> compress_rows(const Settings& settings, const History& history, Report& report) {
  Row compress{.name = "pages.compress", .unit = "ns/page", .baseline = "zstd 1"};
  Row read{.name = "pages.read", .unit = "ns/page", .baseline = "raw"};
  Contender raw_read{.name = "raw"};
  Result<> failed;
  const int levels[] = {1, -5};
  for (const int level : levels) {
    compress.contenders.push_back({.name = fmt::format("zstd {}", level)});
    read.contenders.push_back({.name = fmt::format("zstd {}", level)});
  }
  turns(settings, [&] {
    for (std::size_t i = 0; i < std::size(levels); ++i) {
      auto store = make_store(levels[i]);
      if (!store) {
        failed = fail(store.error());
        return;
      }
      std::vector<PageRef> refs;
      for (std::size_t n = 1; n < history.pages(); ++n) {
        const auto ref = (*store)->put(history.page(n));
        if (!ref) failed = fail(ref.error());
        if (ref) refs.push_back(*ref);
      }
      std::array<std::byte, kPageBytes> page;
      const auto read_some = [&] {
        const std::size_t step = std::max<std::size_t>(refs.size() / 1000, 1);
        for (std::size_t n = 0; n < refs.size(); n += step) (void)(*store)->read(refs[n], 0, page);
      };
      const std::size_t read_count = refs.size() / std::max<std::size_t>(refs.size() / 1000, 1);
      if (i == 0) raw_read.rounds.push_back(charge(read_count, read_some));
      (*store)->set_epoch(1);
      std::size_t tried = 0;
      compress.contenders[i].rounds.push_back(charge(refs.size(), [&] {
        for (std::size_t now = 1; now != 0; tried += now) now = (*store)->compress_cold(1, 4096);
      }));
      read.contenders[i].rounds.push_back(charge(read_count, read_some));
      const auto stats = (*store)->stats();
      const auto pages = static_cast<double>(stats.pages);
      compress.contenders[i].figures = {{"bytes kept/page", static_cast<double>(stats.bytes_in_use) / pages},
                                        {"share that shrinks", static_cast<double>(stats.compressed_pages) / pages}};
    }
  });
  if (!failed) return fail(failed.error());
  read.contenders.insert(read.contenders.begin(), std::move(raw_read));
  report.rows.push_back(std::move(compress));
  report.rows.push_back(std::move(read));
  return {};
}

// Puts the history into a ring as a run would, and gives the ring's bytes.
Result<std::uint64_t> ring_bytes(const History& history, std::size_t compressed_per_tick, std::size_t hot) {
  auto store = make_store();
  if (!store) return fail(std::move(store.error()));
  const auto pages = static_cast<std::uint32_t>(history.images.front().size());
  freeze::SnapshotRing ring(*store, {.pages = pages, .depth = history.images.size(), .byte_limit = kStoreBytes});
  std::vector<std::uint32_t> before(pages);
  for (const auto& image : history.images) {
    std::vector<freeze::PageChange> changes;
    for (std::uint32_t page = 0; page < pages; ++page) {
      if (image[page] == before[page]) continue;
      const auto ref = ring.put(history.page(image[page]));
      if (!ref) return fail(ref.error());
      changes.push_back({page, *ref});
    }
    if (const auto pushed = ring.push({.sequence = ring.size() + 1}, {}, changes); !pushed) return fail(pushed.error());
    ring.compress_cold(hot, compressed_per_tick);
    before = image;
  }
  return ring.bytes();
}

Result<Row> history_row(const History& history) {
  Row row{.name = fmt::format("pages.history of {} snapshots", history.images.size()), .unit = "MiB", .baseline = "one copy"};
  const auto mib = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1048576; };
  std::uint64_t one = 0, each = 0;
  for (const auto& image : history.images) {
    one = (image.size() - static_cast<std::size_t>(std::count(image.begin(), image.end(), 0U))) * kPageBytes;
    each += one;
  }
  row.contenders = {{.name = "one copy", .rounds = {mib(one)}}, {.name = "a copy each", .rounds = {mib(each)}}};
  struct Way {
    const char* name;
    std::size_t compressed, hot;
  };
  for (const Way& way : {Way{"ring, nothing compressed", 0, 10}, {"ring, as floe runs", 128, 10}, {"ring, all compressed", SIZE_MAX, 0}}) {
    const auto bytes = ring_bytes(history, way.compressed, way.hot);
    if (!bytes) return fail(bytes.error());
    row.contenders.push_back({.name = way.name, .rounds = {mib(*bytes)}});
  }
  row.promises.push_back(ratio_at_most(row, "ring, as floe runs", 1.6));
  return row;
}

}  // namespace

Result<> page_rows(const Settings& settings, const std::string& folder, Report& report) {
  if (folder.empty()) {
    if (!settings.wants("pages")) return {};
    constexpr const char* kWhy = "no --snapshots FOLDER given: the snapshots of a floe run --keep-snapshots";
    report.rows.push_back(
        {.name = "pages", .unit = "ns/page", .baseline = {}, .contenders = {{.name = "a real kernel's pages", .absent = kWhy}}});
    return {};
  }
  constexpr std::string_view kRows[] = {"pages.hash", "pages.store", "pages.compress", "pages.read", "pages.history"};
  if (std::none_of(std::begin(kRows), std::end(kRows), [&](std::string_view row) { return settings.wants(row); })) return {};
  const auto history = load(folder);
  if (!history) return fail(history.error());
  const auto add = [&](Result<Row> row) -> Result<> {
    if (!row) return fail(std::move(row.error()));
    report.rows.push_back(std::move(*row));
    return {};
  };
  if (settings.wants("pages.hash")) report.rows.push_back(hash_row(settings, *history));
  if (settings.wants("pages.store"))
    if (const auto added = add(store_row(settings, *history)); !added) return added;
  if (settings.wants("pages.compress") || settings.wants("pages.read"))
    if (const auto added = compress_rows(settings, *history, report); !added) return added;
  if (settings.wants("pages.history"))
    if (const auto added = add(history_row(*history)); !added) return added;
  return {};
}

}  // namespace floe::bench
