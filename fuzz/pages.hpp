// A fuzzer's bytes as guest-physical memory from address 0 on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "walkers/memory.hpp"

namespace floe::fuzz {

class Pages : public walkers::Memory {
 public:
  explicit Pages(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    if (gpa.value >= bytes_.size()) return 0;
    const auto piece = std::min<std::size_t>(out.size(), bytes_.size() - gpa.value);
    if (piece > 0) std::memcpy(out.data(), bytes_.data() + gpa.value, piece);
    return piece;
  }
  bool prefetch(Gpa gpa, std::size_t) const override { return gpa.value < bytes_.size(); }  // so that walks look ahead
  std::vector<walkers::PhysRange> populated() const override { return {{Gpa(0), page_ceil(bytes_.size())}}; }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace floe::fuzz
