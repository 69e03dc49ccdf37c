#include "freeze/page_store.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

using namespace floe;
using namespace floe::freeze;

namespace {

using Page = std::array<std::byte, kPageBytes>;

// Compressible, and different for every seed but 0, which is the zero page.
Page text_page(std::uint64_t seed) {
  Page page{};
  for (std::size_t at = 0; at < kPageBytes; at += 16) std::memcpy(page.data() + at, &seed, sizeof seed);
  return page;
}

Page noise_page(std::uint64_t seed) {
  Page page;
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at < kPageBytes; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(page.data() + at, &word, sizeof word);
  }
  return page;
}

std::shared_ptr<PageStore> store_of(std::uint64_t bytes, PageKey (*hash)(PageBytes, std::uint64_t) = nullptr) {
  auto store = PageStore::create({.byte_limit = bytes, .hash = hash});
  BOOST_REQUIRE(store);
  return *store;
}

Page read_all(const PageStore& store, PageRef ref) {
  Page page;
  BOOST_REQUIRE(store.read(ref, 0, page));
  return page;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(page_store)

BOOST_AUTO_TEST_CASE(equal_pages_are_stored_once) {
  const auto store = store_of(16 << 20);
  const PageRef a = store->put(noise_page(1)).value();
  const PageRef b = store->put(noise_page(2)).value();
  BOOST_TEST(a != b);
  BOOST_TEST(store->put(noise_page(1)).value() == a);
  BOOST_TEST(store->stats().pages == 2u);
  BOOST_TEST(store->stats().dedup_hits == 1u);
  BOOST_TEST((read_all(*store, a) == noise_page(1)));
  BOOST_TEST((read_all(*store, b) == noise_page(2)));
}

BOOST_AUTO_TEST_CASE(zero_pages_are_never_stored) {
  const auto store = store_of(16 << 20);
  BOOST_TEST(store->put(Page{}).value() == kZeroPage);
  store->ref(kZeroPage);
  store->unref(kZeroPage);
  store->unref(kZeroPage);
  BOOST_TEST(store->stats().pages == 0u);
  BOOST_TEST(store->stats().zero_hits == 1u);
  BOOST_TEST((read_all(*store, kZeroPage) == Page{}));
  // One byte, wherever it is, makes a page worth storing.
  for (const std::size_t at : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{2049}, kPageBytes - 1}) {
    Page page{};
    page[at] = std::byte{1};
    const PageRef ref = store->put(page).value();
    BOOST_TEST(ref != kZeroPage);
    BOOST_TEST((read_all(*store, ref) == page));
  }
}

BOOST_AUTO_TEST_CASE(a_page_dies_with_its_last_reference) {
  const auto store = store_of(16 << 20);
  const std::uint64_t empty = store->bytes_in_use();
  const PageRef ref = store->put(noise_page(1)).value();
  store->ref(ref);
  BOOST_TEST(store->put(noise_page(1)).value() == ref);
  store->unref(ref);
  store->unref(ref);
  BOOST_TEST(store->stats().pages == 1u);
  store->unref(ref);
  BOOST_TEST(store->stats().pages == 0u);
  BOOST_TEST(store->bytes_in_use() == empty);
  Page page;
  BOOST_TEST(!store->read(ref, 0, page));
  BOOST_TEST(!store->read(ref + 1000000, 0, page));
}

BOOST_AUTO_TEST_CASE(releasing_what_nobody_holds_aborts) {
  const auto store = store_of(16 << 20);
  const PageRef ref = store->put(noise_page(1)).value();
  store->unref(ref);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    store->unref(ref);
    ::_exit(0);
  }
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFSIGNALED(status));
  BOOST_TEST(WTERMSIG(status) == SIGABRT);
}

BOOST_AUTO_TEST_CASE(dropping_shows_the_gain_before_it_is_final) {
  const auto store = store_of(16 << 20);
  const PageRef ref = store->put(noise_page(1)).value();
  store->ref(ref);
  BOOST_TEST(store->drop(ref) == 0u);
  const std::uint64_t gain = store->drop(ref);
  BOOST_TEST(gain == store->bytes_in_use());
  BOOST_TEST((read_all(*store, ref) == noise_page(1)));
  store->undrop(ref);
  store->sweep(ref);
  BOOST_TEST(store->stats().pages == 1u);
  BOOST_TEST(store->drop(ref) == gain);
  store->sweep(ref);
  BOOST_TEST(store->bytes_in_use() == 0u);
}

BOOST_AUTO_TEST_CASE(colliding_keys_are_told_apart_by_their_bytes) {
  // Four keys for everything: every chain holds many pages, most of them under the same key.
  const auto store = store_of(64 << 20, [](PageBytes page, std::uint64_t) {
    return PageKey{std::to_integer<std::uint64_t>(page[0]) % 2, std::to_integer<std::uint64_t>(page[1]) % 2};
  });
  std::vector<PageRef> refs;
  for (std::uint64_t n = 0; n < 300; ++n) refs.push_back(store->put(noise_page(n)).value());
  BOOST_TEST(store->stats().pages == 300u);
  BOOST_TEST(store->stats().collisions > 300u);
  for (std::uint64_t n = 0; n < 300; n += 2) store->unref(refs[n]);
  store->set_epoch(2);
  while (store->compress_cold(2, 1000) > 0) continue;
  for (std::uint64_t n = 0; n < 300; ++n) {
    if (n % 2 == 1) BOOST_TEST((read_all(*store, refs[n]) == noise_page(n)));
    const PageRef again = store->put(noise_page(n)).value();
    if (n % 2 == 1) BOOST_TEST(again == refs[n]);
    BOOST_TEST((read_all(*store, again) == noise_page(n)));
  }
  BOOST_TEST(store->stats().pages == 300u);
}

BOOST_AUTO_TEST_CASE(compression_is_invisible_but_in_bytes) {
  const auto store = store_of(64 << 20);
  std::vector<PageRef> text, noise;
  for (std::uint64_t n = 1; n <= 500; ++n) {
    text.push_back(store->put(text_page(n)).value());
    noise.push_back(store->put(noise_page(n)).value());
  }
  const std::uint64_t raw = store->bytes_in_use();
  store->set_epoch(5);
  const PageRef hot = store->put(text_page(7)).value();
  BOOST_TEST(hot == text[6]);
  while (store->compress_cold(5, 64) > 0) continue;
  const auto stats = store->stats();
  BOOST_TEST(stats.compressed_pages == 499u);
  BOOST_TEST(stats.incompressible == 500u);
  BOOST_TEST(stats.compressed_bytes <= 499u * 128);
  BOOST_TEST(stats.bytes_in_use == raw - 499 * kPageBytes + stats.compressed_bytes);
  for (std::uint64_t n = 1; n <= 500; ++n) {
    BOOST_TEST((read_all(*store, text[n - 1]) == text_page(n)));
    BOOST_TEST((read_all(*store, noise[n - 1]) == noise_page(n)));
  }
  std::array<std::byte, 3> part;
  BOOST_TEST(store->read(text[0], 16, part));
  BOOST_TEST(std::to_integer<int>(part[0]) == 1);
  BOOST_TEST(!store->read(text[0], kPageBytes - 2, part));
  BOOST_TEST(!store->read(text[0], kPageBytes + 1, {}));

  // A put of the same bytes finds the compressed page; a freed slot that is used again does not show the old cached bytes.
  BOOST_TEST(store->put(text_page(1)).value() == text[0]);
  store->unref(text[0]);
  store->unref(text[0]);
  const PageRef reused = store->put(noise_page(9999)).value();
  BOOST_TEST((read_all(*store, reused) == noise_page(9999)));
  for (std::uint64_t n = 2; n <= 500; ++n) store->unref(text[n - 1]);
  for (const PageRef ref : noise) store->unref(ref);
  store->unref(hot);
  store->unref(reused);
  BOOST_TEST(store->bytes_in_use() == 0u);
  BOOST_TEST(store->stats().compressed_bytes == 0u);
  BOOST_TEST(store->stats().incompressible == 0u);
}

BOOST_AUTO_TEST_CASE(the_byte_limit_holds_and_room_comes_back) {
  constexpr std::uint64_t kLimit = 8 << 20;
  const auto store = store_of(kLimit);
  std::vector<PageRef> refs;
  for (std::uint64_t n = 0;; ++n) {
    const auto ref = store->put(noise_page(n));
    BOOST_REQUIRE(store->stats().arena_bytes <= kLimit);
    if (!ref) {
      BOOST_TEST(ref.error().code == ENOSPC);
      BOOST_TEST(ref.error().message.find("full") != std::string::npos);
      break;
    }
    refs.push_back(*ref);
  }
  BOOST_TEST(refs.size() > (kLimit - (2 << 20)) / kPageBytes);
  BOOST_TEST(refs.size() < kLimit / kPageBytes);
  BOOST_TEST(store->stats().bytes_in_use <= store->stats().arena_bytes);
  BOOST_TEST((read_all(*store, refs.front()) == noise_page(0)));
  store->unref(refs.back());
  BOOST_TEST(store->put(noise_page(1 << 20)).has_value());
  BOOST_TEST(!store->put(noise_page(1 << 21)).has_value());
  BOOST_TEST(store->stats().refused == 2u);
}

BOOST_AUTO_TEST_CASE(a_store_below_one_chunk_or_beyond_its_handles_is_refused) {
  BOOST_TEST(!PageStore::create({.byte_limit = 4096}).has_value());
  BOOST_TEST(!PageStore::create({.byte_limit = std::uint64_t{1} << 40}).has_value());
}

BOOST_AUTO_TEST_CASE(steady_state_needs_no_new_memory) {
  const auto store = store_of(64 << 20);
  std::vector<PageRef> refs(2000);
  for (std::uint64_t n = 0; n < refs.size(); ++n) refs[n] = store->put(noise_page(n)).value();
  const std::uint64_t before = store->stats().arena_bytes;
  for (std::uint64_t n = 0; n < 10 * refs.size(); ++n) {
    PageRef& place = refs[n % refs.size()];
    store->unref(place);
    place = store->put(noise_page(n + refs.size())).value();
  }
  BOOST_TEST(store->stats().arena_bytes == before);
}

BOOST_AUTO_TEST_CASE(random_operations_agree_with_a_map) {
  const std::uint64_t seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  const auto store = store_of(32 << 20);
  std::map<PageRef, std::pair<std::uint64_t, int>> model;  // ref -> content seed, references
  std::map<std::uint64_t, PageRef> by_content;
  const auto content = [](std::uint64_t n) { return n % 3 == 0 ? noise_page(n) : text_page(n + 1); };
  for (std::uint32_t step = 0; step < 20000; ++step) {
    const std::uint64_t pick = random() % 10;
    if (pick < 5) {
      const std::uint64_t n = random() % 400;
      const PageRef ref = store->put(content(n)).value();
      const auto known = by_content.find(n);
      BOOST_REQUIRE(known == by_content.end() || known->second == ref);
      by_content[n] = ref;
      model[ref].first = n;
      ++model[ref].second;
    } else if (pick < 9 && !model.empty()) {
      auto victim = model.lower_bound(static_cast<PageRef>(random() % 500));
      if (victim == model.end()) victim = model.begin();
      store->unref(victim->first);
      if (--victim->second.second == 0) {
        by_content.erase(victim->second.first);
        model.erase(victim);
      }
    } else {
      store->set_epoch(step);
      store->compress_cold(step, random() % 20);
    }
    if (step % 500 == 0)
      for (const auto& [ref, held] : model) BOOST_REQUIRE((read_all(*store, ref) == content(held.first)));
  }
  BOOST_TEST(store->stats().pages == model.size());
  for (const auto& [ref, held] : model)
    for (int n = 0; n < held.second; ++n) store->unref(ref);
  BOOST_TEST(store->bytes_in_use() == 0u);
}

BOOST_AUTO_TEST_CASE(held_pages_can_be_read_while_others_change) {
  const auto store = store_of(64 << 20);
  std::vector<PageRef> held;
  for (std::uint64_t n = 1; n <= 200; ++n) held.push_back(store->put(text_page(n)).value());
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0, reads = 0;
  const auto reader = [&](std::uint64_t start) {
    for (std::uint64_t n = start; !stop; ++n) {
      Page page;
      if (!store->read(held[n % 200], 0, page) || page != text_page(n % 200 + 1)) ++wrong;
      ++reads;
    }
  };
  std::thread one(reader, 0), two(reader, 100);
  for (std::uint32_t round = 1; round < 20 || reads < 200; ++round) {
    std::vector<PageRef> more;
    for (std::uint64_t n = 0; n < 300; ++n) more.push_back(store->put(noise_page(round * 1000 + n)).value());
    store->set_epoch(round + 1);
    store->compress_cold(round + 1, 50);
    for (const PageRef ref : more) store->unref(ref);
  }
  stop = true;
  one.join();
  two.join();
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_SUITE_END()
