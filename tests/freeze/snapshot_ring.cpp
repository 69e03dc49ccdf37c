#include "freeze/snapshot_ring.hpp"

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <vector>

using namespace floe;
using namespace floe::freeze;

namespace {

using Page = std::array<std::byte, kPageBytes>;

Page page_of(std::uint64_t content) {
  Page page{};
  if (content == 0) return page;
  std::mt19937_64 random(content);
  const std::size_t words = content % 2 == 0 ? 512 : 32;  // the odd ones compress
  for (std::size_t n = 0; n < words; ++n) {
    const std::uint64_t word = random();
    std::memcpy(page.data() + n * 8, &word, sizeof word);
  }
  return page;
}

struct Rig {
  std::shared_ptr<PageStore> store;
  std::optional<SnapshotRing> ring;

  explicit Rig(SnapshotRing::Options options, std::uint64_t store_bytes = 64 << 20) {
    store = PageStore::create({.byte_limit = store_bytes}).value();
    ring.emplace(store, options);
  }
  Result<> push(std::uint64_t sequence, const std::map<std::uint32_t, std::uint64_t>& contents) {
    std::vector<PageChange> changes;
    for (const auto& [page, content] : contents) changes.push_back({page, ring->put(page_of(content)).value()});
    MachineState machine;
    machine.vcpus.push_back({0, sequence, 0, 0, std::vector<std::byte>(100)});
    auto pushed = ring->push({.sequence = sequence}, std::move(machine), changes);
    if (!pushed) BOOST_TEST_MESSAGE(pushed.error().message);
    return pushed;
  }
};

void check_view(const SnapshotView& view, const std::vector<std::uint64_t>& image) {
  BOOST_REQUIRE(view.pages() == image.size());
  for (std::uint32_t page = 0; page < image.size(); ++page) {
    Page bytes;
    BOOST_REQUIRE(view.read(page, 0, bytes));
    BOOST_REQUIRE((bytes == page_of(image[page])));
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(snapshot_ring)

BOOST_AUTO_TEST_CASE(every_view_equals_the_naive_model) {
  const std::uint64_t seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  for (const std::size_t depth : {1, 2, 5}) {
    constexpr std::uint32_t kPages = 70;
    Rig rig({.pages = kPages, .depth = depth, .byte_limit = 64 << 20});
    std::vector<std::uint64_t> image(kPages);
    std::deque<std::vector<std::uint64_t>> model;
    std::optional<SnapshotView> old;
    std::vector<std::uint64_t> old_image;
    for (std::uint64_t sequence = 1; sequence <= 60; ++sequence) {
      std::map<std::uint32_t, std::uint64_t> changes;
      for (std::uint64_t n = random() % 20; n > 0; --n) changes[static_cast<std::uint32_t>(random() % kPages)] = random() % 40;
      for (const auto& [page, content] : changes) image[page] = content;
      BOOST_REQUIRE(rig.push(sequence, changes));
      model.push_back(image);
      if (model.size() > depth) model.pop_front();
      BOOST_REQUIRE(rig.ring->size() == model.size());
      rig.ring->compress_cold(2, 5);
      for (std::size_t n = 0; n < model.size(); ++n) {
        const SnapshotView view = rig.ring->view(n);
        BOOST_REQUIRE(view.meta().sequence == sequence - model.size() + 1 + n);
        BOOST_REQUIRE(view.machine().vcpus.at(0).ip == view.meta().sequence);
        check_view(view, model[n]);
      }
      // One view grows old while the ring moves on.
      if (sequence % 17 == 3) {
        old.emplace(rig.ring->view(0));
        old_image = model.front();
      }
      if (old) check_view(*old, old_image);
    }
    BOOST_TEST(rig.ring->counters().taken == 60u);
    BOOST_TEST(rig.ring->counters().evicted == 60 - depth);
    BOOST_TEST(rig.ring->counters().evicted_for_bytes == 0u);
    rig.ring.reset();
    check_view(*old, old_image);
    old.reset();
    BOOST_TEST(rig.store->stats().pages == 0u);
    BOOST_TEST(rig.store->bytes_in_use() == 0u);
  }
}

BOOST_AUTO_TEST_CASE(pages_that_did_not_change_are_not_listed) {
  Rig rig({.pages = 10, .depth = 4, .byte_limit = 64 << 20});
  BOOST_REQUIRE(rig.push(1, {{0, 5}, {3, 6}}));
  BOOST_REQUIRE(rig.push(2, {{0, 5}, {3, 7}, {9, 0}}));
  BOOST_TEST(rig.ring->changes(1).size() == 1u);
  BOOST_TEST(rig.ring->counters().unchanged_pages == 2u);
  check_view(rig.ring->newest(), {5, 0, 0, 7, 0, 0, 0, 0, 0, 0});
}

BOOST_AUTO_TEST_CASE(the_byte_bound_evicts_as_many_as_needed) {
  constexpr std::uint64_t kLimit = 200 * kPageBytes;
  Rig rig({.pages = 1000, .depth = 60, .byte_limit = kLimit});
  std::uint64_t content = 2;
  for (std::uint64_t sequence = 1; sequence <= 40; ++sequence) {
    std::map<std::uint32_t, std::uint64_t> changes;
    for (std::uint32_t page = 0; page < 20; ++page) changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
    BOOST_REQUIRE(rig.ring->bytes() <= kLimit);
  }
  BOOST_TEST(rig.ring->size() >= 7u);
  BOOST_TEST(rig.ring->size() <= 10u);
  BOOST_TEST(rig.ring->counters().evicted == 40 - rig.ring->size());
  BOOST_TEST(rig.ring->counters().evicted_for_bytes == rig.ring->counters().evicted);
}

BOOST_AUTO_TEST_CASE(what_cannot_fit_is_refused_and_costs_no_history) {
  constexpr std::uint64_t kLimit = 200 * kPageBytes;
  Rig rig({.pages = 1000, .depth = 60, .byte_limit = kLimit});
  std::uint64_t content = 2;
  std::vector<std::uint64_t> image(1000);
  std::deque<std::vector<std::uint64_t>> model;
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) {
    std::map<std::uint32_t, std::uint64_t> changes;
    for (std::uint32_t page = 0; page < 20; ++page) image[page] = changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
    model.push_back(image);
  }
  const std::uint64_t before = rig.ring->bytes();
  std::map<std::uint32_t, std::uint64_t> huge;
  for (std::uint32_t page = 10; page < 250; ++page) huge[page] = content += 2;
  const auto refused = rig.push(6, huge);
  BOOST_REQUIRE(!refused);
  BOOST_TEST(refused.error().code == ENOSPC);
  BOOST_TEST_MESSAGE(refused.error().message);
  BOOST_TEST(refused.error().message.find("--ring-bytes") != std::string::npos);
  BOOST_TEST(rig.ring->counters().did_not_fit == 1u);
  BOOST_TEST(rig.ring->counters().evicted == 0u);
  BOOST_TEST(rig.ring->bytes() == before);
  for (std::size_t n = 0; n < model.size(); ++n) check_view(rig.ring->view(n), model[n]);
  BOOST_REQUIRE(rig.push(7, {{0, content + 2}}));

  // The bound that the message names is enough.
  const std::string& message = refused.error().message;
  const std::uint64_t named = std::stoull(message.substr(message.find("--ring-bytes ") + 13));
  for (const std::uint64_t limit : {named, named - 1}) {
    Rig other({.pages = 1000, .depth = 60, .byte_limit = limit});
    std::map<std::uint32_t, std::uint64_t> base;
    for (std::uint32_t page = 0; page < 20; ++page) base[page] = model.back()[page];
    BOOST_REQUIRE(other.push(1, base));
    const auto pushed = other.push(2, huge);
    BOOST_TEST_INFO((pushed ? std::string("taken") : pushed.error().message));
    BOOST_TEST(pushed.has_value() == (limit == named));
  }
}

BOOST_AUTO_TEST_CASE(a_base_that_cannot_fit_is_refused) {
  Rig rig({.pages = 100, .depth = 3, .byte_limit = 20 * kPageBytes});
  std::map<std::uint32_t, std::uint64_t> all;
  for (std::uint32_t page = 0; page < 100; ++page) all[page] = 2 * page + 2;
  BOOST_TEST(!rig.push(1, all));
  BOOST_TEST(rig.ring->size() == 0u);
  BOOST_TEST(rig.store->stats().pages == 0u);
  BOOST_REQUIRE(rig.push(2, {{5, 8}}));
  check_view(rig.ring->newest(), [] {
    std::vector<std::uint64_t> image(100);
    image[5] = 8;
    return image;
  }());
}

BOOST_AUTO_TEST_CASE(a_full_store_makes_room_by_evicting) {
  Rig rig({.pages = 4000, .depth = 60, .byte_limit = 1 << 30}, 8 << 20);
  std::uint64_t content = 2;
  for (std::uint64_t sequence = 1; sequence <= 20; ++sequence) {
    std::map<std::uint32_t, std::uint64_t> changes;
    for (std::uint32_t page = 0; page < 300; ++page) changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
    BOOST_REQUIRE(rig.store->stats().arena_bytes <= 8u << 20);
  }
  BOOST_TEST(rig.ring->counters().evicted > 10u);
  BOOST_TEST(rig.ring->size() >= 3u);
}

BOOST_AUTO_TEST_CASE(a_list_out_of_order_is_refused_and_leaks_nothing) {
  Rig rig({.pages = 10, .depth = 3, .byte_limit = 64 << 20});
  for (const auto& bad : {std::vector<std::uint32_t>{3, 3}, {4, 2}, {10}, {0xffff'ffff}}) {
    std::vector<PageChange> changes;
    for (const std::uint32_t page : bad) changes.push_back({page, rig.store->put(page_of(page + 1)).value()});
    BOOST_TEST(!rig.ring->push({}, {}, changes));
  }
  BOOST_TEST(rig.store->stats().pages == 0u);
}

BOOST_AUTO_TEST_CASE(pinned_pages_do_not_stop_the_ring) {
  constexpr std::uint64_t kLimit = 100 * kPageBytes;
  Rig rig({.pages = 100, .depth = 60, .byte_limit = kLimit});
  std::uint64_t content = 2;
  std::map<std::uint32_t, std::uint64_t> changes;
  for (std::uint32_t page = 0; page < 20; ++page) changes[page] = content += 2;
  BOOST_REQUIRE(rig.push(1, changes));
  auto view = std::make_unique<SnapshotView>(rig.ring->newest());
  for (std::uint64_t sequence = 2; sequence <= 20; ++sequence) {
    for (std::uint32_t page = 0; page < 20; ++page) changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
    BOOST_REQUIRE(rig.ring->bytes() <= kLimit);
  }
  const std::uint64_t pinned = rig.store->bytes_in_use();
  BOOST_TEST(pinned > kLimit);
  std::vector<std::uint64_t> image(100);
  for (std::uint32_t page = 0; page < 20; ++page) image[page] = 4 + 2 * page;
  // The last reader may be another thread.
  std::thread([&] {
    check_view(*view, image);
    view.reset();
  }).join();
  BOOST_TEST(rig.store->bytes_in_use() < pinned);
  BOOST_TEST(rig.store->bytes_in_use() <= kLimit);
  rig.ring.reset();
  BOOST_TEST(rig.store->bytes_in_use() == 0u);
}

// A page that only a view keeps is not the ring's, one that the ring uses again is, and compressing either changes nothing about that.
BOOST_AUTO_TEST_CASE(bytes_do_not_depend_on_views) {
  const std::uint64_t seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  for (const std::uint64_t limit : {std::uint64_t{64} << 20, std::uint64_t{40} * kPageBytes}) {
    // Where the limit decides what stays, all pages are noise: a compressed one that a view kept would fit where a fresh one does not.
    const std::uint64_t step = limit > (1 << 20) ? 1 : 2;
    std::mt19937_64 random(seed);
    const SnapshotRing::Options options{.pages = 50, .depth = 3, .byte_limit = limit};
    Rig plain(options), viewed(options);
    std::optional<SnapshotView> view;
    for (std::uint64_t sequence = 1; sequence <= 200; ++sequence) {
      std::map<std::uint32_t, std::uint64_t> changes;
      for (std::uint64_t n = random() % 8; n > 0; --n) changes[static_cast<std::uint32_t>(random() % 50)] = random() % 30 * step;
      const bool fitted = plain.push(sequence, changes).has_value();
      BOOST_REQUIRE(viewed.push(sequence, changes).has_value() == fitted);
      if (sequence == 2 || sequence % 50 == 0) view.emplace(viewed.ring->view(0));
      while (plain.ring->compress_cold(0, 100) > 0) continue;
      while (viewed.ring->compress_cold(0, 100) > 0) continue;
      BOOST_REQUIRE(viewed.ring->bytes() == plain.ring->bytes());
      BOOST_REQUIRE(viewed.ring->size() == plain.ring->size());
    }
    BOOST_TEST(viewed.store->bytes_in_use() >= plain.store->bytes_in_use());
    view.reset();
    BOOST_TEST(viewed.store->bytes_in_use() == plain.store->bytes_in_use());
  }
}

// A reader of the newest snapshot costs nothing beyond it, however long it takes: nobody sees the pages that leave meanwhile.
BOOST_AUTO_TEST_CASE(a_view_of_what_the_ring_still_has_pins_nothing) {
  Rig rig({.pages = 100, .depth = 10, .byte_limit = 64 << 20});
  std::uint64_t content = 2;
  std::vector<std::uint64_t> image(100);
  const auto push = [&](std::uint64_t sequence) {
    std::map<std::uint32_t, std::uint64_t> changes;
    for (std::uint32_t page = 0; page < 20; ++page) image[page] = changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
  };
  for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) push(sequence);
  const SnapshotView view = rig.ring->newest();
  const std::vector<std::uint64_t> seen = image;
  for (std::uint64_t sequence = 11; sequence <= 19; ++sequence) {
    push(sequence);
    BOOST_REQUIRE(rig.ring->pinned_bytes() == 0u);
    BOOST_REQUIRE(rig.store->stats().pages == 200u);
  }
  check_view(view, seen);
  push(20);  // its own snapshot leaves
  BOOST_TEST(rig.ring->pinned_bytes() > 20 * kPageBytes);
  check_view(view, seen);
}

BOOST_AUTO_TEST_CASE(readers_that_are_held_go_on_when_they_are_let) {
  Rig rig({.pages = 1, .depth = 2});
  BOOST_REQUIRE(rig.push(1, {{0, 2}}));
  const SnapshotView view = rig.ring->newest();
  rig.ring->hold_readers();
  std::atomic<bool> has_read{false};
  std::thread reader([&] {
    Page bytes;
    has_read = view.read(0, 0, bytes) && bytes == page_of(2);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  BOOST_TEST(!has_read);
  rig.ring->let_readers();
  reader.join();
  BOOST_TEST(has_read);
}

// Two views, of which the older one dies first: what only it could see goes with it.
BOOST_AUTO_TEST_CASE(what_only_a_dead_view_saw_is_released) {
  Rig rig({.pages = 100, .depth = 3, .byte_limit = 64 << 20});
  std::uint64_t content = 2;
  const auto push = [&](std::uint64_t sequence) {
    std::map<std::uint32_t, std::uint64_t> changes;
    for (std::uint32_t page = 0; page < 20; ++page) changes[page] = content += 2;
    BOOST_REQUIRE(rig.push(sequence, changes));
  };
  push(1);
  auto old = std::make_unique<SnapshotView>(rig.ring->newest());
  for (std::uint64_t sequence = 2; sequence <= 6; ++sequence) push(sequence);
  const SnapshotView recent = rig.ring->newest();
  BOOST_TEST(rig.ring->pinned_bytes() > 0u);
  old.reset();
  BOOST_TEST(rig.ring->pinned_bytes() == 0u);
  BOOST_TEST(rig.store->stats().pages == 60u);
}

namespace {

// Every byte that the ring answers for, counted from its tables by somebody who does not know how it counts.
std::uint64_t counted_bytes(const Rig& rig, std::uint64_t index_bytes_per_page) {
  const SnapshotRing& ring = *rig.ring;
  std::set<PageRef> distinct(ring.base().begin(), ring.base().end());
  std::uint64_t bytes = 2 * ring.pages() * sizeof(PageRef);
  for (std::size_t n = 0; n < ring.size(); ++n) {
    for (const PageChange& change : ring.changes(n)) distinct.insert(change.ref);
    bytes += ring.changes(n).size() * sizeof(PageChange) + ring.machine(n).bytes();
  }
  distinct.erase(kZeroPage);
  return bytes + distinct.size() * (kPageBytes + index_bytes_per_page);
}

}  // namespace

// Whatever a guest does, what the ring holds stays within its bound after every tick, and exceeds it by one tick's pages at most in
// between.
BOOST_AUTO_TEST_CASE(the_byte_bound_holds_for_any_history) {
  const std::uint64_t seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  for (int run = 0; run < 12; ++run) {
    constexpr std::uint32_t kPages = 600;
    const std::uint64_t limit = (100 + random() % 900) * kPageBytes;
    const bool compressing = run % 2 == 0;
    const std::size_t depth = 1 + random() % 40;
    Rig rig({.pages = kPages, .depth = depth, .byte_limit = limit}, limit + (256 << 20));
    std::uint64_t most_arena = 0, most_pinned = 0, contents = 1, refused = 0;
    std::optional<SnapshotView> view;
    for (std::uint64_t sequence = 1; sequence <= 150; ++sequence) {
      std::map<std::uint32_t, std::uint64_t> changes;
      // Mostly a little; at times much more than fits, and now and then what was there before.
      const std::uint64_t size = random() % 10 == 0 ? random() % kPages : random() % 40;
      for (std::uint64_t n = 0; n < size; ++n)
        changes[static_cast<std::uint32_t>(random() % kPages)] = random() % 4 == 0 ? random() % 8 : ++contents;
      const std::uint64_t before = rig.ring->bytes();
      const bool taken = rig.push(sequence, changes).has_value();
      refused += taken ? 0 : 1;
      const std::uint64_t bytes = rig.ring->bytes();
      if (rig.ring->size() > 0) BOOST_REQUIRE(bytes <= limit);
      if (!taken) BOOST_REQUIRE(bytes == before);
      BOOST_REQUIRE(rig.ring->size() <= depth);
      BOOST_REQUIRE(rig.ring->parts().sum() == bytes);
      BOOST_REQUIRE(rig.ring->counters().peak_bytes >= bytes);
      BOOST_REQUIRE(rig.ring->counters().peak_bytes <= limit + rig.ring->counters().largest_delta);
      if (compressing)
        rig.ring->compress_cold(3, 30);
      else if (!view)
        BOOST_REQUIRE(bytes - counted_bytes(rig, 48) <= rig.ring->size() * 256);  // a record for each snapshot is left
      if (taken && random() % 20 == 0) view.emplace(rig.ring->newest());
      if (random() % 20 == 0) view.reset();
      BOOST_REQUIRE(rig.store->bytes_in_use() <= bytes + rig.ring->pinned_bytes());
      most_pinned = std::max(most_pinned, rig.ring->pinned_bytes());
      most_arena = std::max(most_arena, rig.store->stats().arena_bytes);
    }
    BOOST_TEST(rig.ring->counters().taken + refused == 150u);
    // Memory is committed in chunks and never given back: as much as was needed at once, with what views kept, one chunk, the first tables.
    BOOST_TEST(most_arena <= limit + rig.ring->counters().largest_delta + most_pinned + PageArena::kChunkBytes + (1 << 20));
    BOOST_TEST_MESSAGE("limit " << limit << ", depth " << depth << ": peak " << rig.ring->counters().peak_bytes << ", largest delta "
                                << rig.ring->counters().largest_delta << ", committed " << most_arena << ", refused " << refused);
  }
}

BOOST_AUTO_TEST_SUITE_END()
