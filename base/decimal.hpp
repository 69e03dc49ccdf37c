// Unsigned numbers as decimal digits: a dump has some for every value, and they are most of what writing one costs.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace floe {

inline constexpr std::size_t kMostDigits = 20;  // of 64 bits

namespace decimal {

inline constexpr auto kPairs = [] {
  std::array<char, 200> pairs{};
  for (std::size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}();

inline constexpr auto kPowers = [] {
  std::array<std::uint64_t, 20> powers{1};
  for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * 10;
  return powers;
}();

// 1 for 0. 1233 / 4096 is a little above log10(2).
inline std::size_t digits(std::uint64_t value) {
  const auto guess = static_cast<std::size_t>(std::bit_width(value | 1)) * 1233 >> 12;
  return guess + (guess == 0 || (guess < kPowers.size() && value >= kPowers[guess]) ? 1 : 0);
}

inline void pair(char* at, std::uint32_t below_100) {
  std::memcpy(at, kPairs.data() + std::size_t{2} * below_100, 2);
}

inline void eight(char* at, std::uint32_t value) {
  const std::uint32_t high = value / 10'000, low = value % 10'000;
  pair(at, high / 100);
  pair(at + 2, high % 100);
  pair(at + 4, low / 100);
  pair(at + 6, low % 100);
}

}  // namespace decimal

// Writes the digits of `value` from `at` on, kMostDigits at most, and returns where they end.
inline char* write_decimal(char* at, std::uint64_t value) {
  char* const end = at + decimal::digits(value);
  char* last = end;
  while (value >= 100'000'000) {
    last -= 8;
    decimal::eight(last, static_cast<std::uint32_t>(value % 100'000'000));
    value /= 100'000'000;
  }
  auto rest = static_cast<std::uint32_t>(value);
  while (rest >= 100) {
    last -= 2;
    decimal::pair(last, rest % 100);
    rest /= 100;
  }
  if (rest >= 10)
    decimal::pair(last - 2, rest);
  else
    last[-1] = static_cast<char>('0' + rest);
  return end;
}

// With a sign where it is negative: one character more.
inline char* write_decimal(char* at, std::int64_t value) {
  if (value >= 0) return write_decimal(at, static_cast<std::uint64_t>(value));
  *at = '-';
  return write_decimal(at + 1, ~static_cast<std::uint64_t>(value) + 1);
}

}  // namespace floe
