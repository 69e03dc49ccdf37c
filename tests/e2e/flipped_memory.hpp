// A recorded memory of which words were changed, so that what a walk finds is no kernel's any more.
//
// A WatchedMemory notes the words that a walk over the sound memory reads. Out of these plan_flips() chooses, by a seed, and gives each
// another value: wild pointers, pointers to itself, numbers beyond all bounds. A FlippedMemory shows them in place of the recorded ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "walkers/memory.hpp"

namespace floe::hostile {

using Flips = std::map<std::uint64_t, std::uint64_t>;  // physical address of an aligned word: its value

class WatchedMemory final : public walkers::Memory {
 public:
  explicit WatchedMemory(const walkers::Memory& memory) : memory_(memory) {}

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    // Of long reads (strings, tables, pages) one word in eight, or they would outweigh the pointers and counts.
    const std::uint64_t stride = out.size() <= kShort ? 8 : 64;
    for (std::uint64_t at = gpa.value & ~std::uint64_t{7}; at < gpa.value + out.size(); at += stride) words_.insert(at);
    return memory_.read(gpa, out);
  }
  std::vector<walkers::PhysRange> populated() const override { return memory_.populated(); }

  std::vector<std::uint64_t> words() const { return {words_.begin(), words_.end()}; }

 private:
  static constexpr std::size_t kShort = 64;
  const walkers::Memory& memory_;
  mutable std::set<std::uint64_t> words_;
};

class FlippedMemory final : public walkers::Memory {
 public:
  FlippedMemory(const walkers::Memory& memory, const Flips& flips) : memory_(memory), flips_(flips) {}
  void show_flips(bool shown) { shown_ = shown; }

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    const std::size_t got = memory_.read(gpa, out);
    const std::uint64_t end = gpa.value + got;
    if (!shown_) return got;
    for (auto at = flips_.lower_bound(gpa.value & ~std::uint64_t{7}); at != flips_.end() && at->first < end; ++at) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&at->second);
      for (std::uint64_t i = 0; i < 8; ++i)
        if (at->first + i >= gpa.value && at->first + i < end) out[at->first + i - gpa.value] = bytes[i];
    }
    return got;
  }
  std::vector<walkers::PhysRange> populated() const override { return memory_.populated(); }

 private:
  const walkers::Memory& memory_;
  const Flips& flips_;
  bool shown_ = true;
};

using Random = std::mt19937_64;

// 1 to 1,000 of `words`. `direct_map`: where the kernel maps physical address 0.
inline Flips plan_flips(const walkers::Memory& memory, const std::vector<std::uint64_t>& words, std::uint64_t direct_map, Random& random) {
  const auto below = [&random](std::uint64_t limit) { return random() % limit; };
  const auto any_word = [&] { return words[below(words.size())]; };
  const auto value_at = [&memory](std::uint64_t at) {
    std::uint64_t value = 0;
    (void)memory.read(Gpa(at), std::as_writable_bytes(std::span(&value, 1)));
    return value;
  };
  const auto is_pointer = [](std::uint64_t value) { return value >= 0xff00'0000'0000'0000u && value < 0xffff'ffff'ffff'f000u; };

  constexpr std::uint64_t kCounts[] = {1, 1, 3, 10, 30, 100, 1000};
  Flips flips;
  for (std::uint64_t left = kCounts[below(std::size(kCounts))]; left != 0; --left) {
    const std::uint64_t at = any_word();
    const std::uint64_t old = value_at(at);
    std::uint64_t& now = flips[at];
    switch (below(10)) {
      case 0:  // wild
        now = 0xffff'8000'0000'0000u | (random() & 0x7fff'ffff'ffffu);
        break;
      case 1:  // to itself, and near it
        now = direct_map + at - 8 * below(4);
        break;
      case 2:  // huge, in its whole or its lower half
        now = std::uint64_t{1} << below(64);
        if (below(2) != 0) now = (old & ~std::uint64_t{0xffff'ffff}) | (std::uint64_t{0xffff'ffff} >> below(32));
        break;
      case 3:
        now = below(2) != 0 ? 0 : ~std::uint64_t{0};
        break;
      case 4:
        now = random();
        break;
      case 5:
        now = old ^ (std::uint64_t{1} << below(64));
        break;
      case 6:  // a little more or less
        now = old + 8 * below(17) - 64 + below(3);
        break;
      case 7:  // one half of it something small
        now = below(2) != 0 ? (old & 0xffff'ffff) | (below(4096) << 32) : (old & ~std::uint64_t{0xffff'ffff}) | below(4096);
        break;
      case 8:  // a list's next that leads back at once
        now = old;
        if (is_pointer(old) && old >= direct_map && old - direct_map < (std::uint64_t{1} << 40))
          flips[(old - direct_map) & ~std::uint64_t{7}] = old;
        break;
      default:  // what stands somewhere else: a pointer of another type, or back into a list
        now = old;
        for (int tries = 0; tries < 64; ++tries)
          if (const std::uint64_t other = value_at(any_word()); is_pointer(other)) {
            now = other;
            break;
          }
    }
  }
  return flips;
}

}  // namespace floe::hostile
