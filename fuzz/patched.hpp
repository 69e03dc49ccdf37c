// A guest made for a fuzz target, with the fuzzer's bytes laid over its memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fuzz/input.hpp"
#include "walkers/memory.hpp"

namespace floe::fuzz {

// The guest's memory with the input laid over it.
class Patched : public walkers::Memory {
 public:
  explicit Patched(const walkers::Memory& base) : base_(base) {}
  void patch(Gpa gpa, std::span<const std::uint8_t> bytes) { patches_.push_back({gpa.value, bytes}); }

  // As the input says, up to 16 times: [page u8][offset u16][bytes u8][bytes...], the page one of `pages`.
  void patch_by(Input& input, const std::vector<Gpa>& pages) {
    for (int i = 0; i < 16 && !input.empty(); ++i) {
      const auto page = input.take<std::uint8_t>();
      const auto offset = input.take<std::uint16_t>() % kPageBytes;
      const auto bytes = input.take<std::uint8_t>() % 64u;
      patch(pages[page % pages.size()] + offset, input.take_bytes(bytes));
    }
  }

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    const std::size_t got = base_.read(gpa, out);
    for (const auto& [start, bytes] : patches_)
      for (std::size_t i = 0; i < bytes.size(); ++i)
        if (start + i >= gpa.value && start + i - gpa.value < got) out[start + i - gpa.value] = std::byte{bytes[i]};
    return got;
  }
  bool prefetch(Gpa gpa, std::size_t bytes) const override { return base_.prefetch(gpa, bytes); }
  std::vector<walkers::PhysRange> populated() const override { return base_.populated(); }

 private:
  struct Patch {
    std::uint64_t start;
    std::span<const std::uint8_t> bytes;
  };
  const walkers::Memory& base_;
  std::vector<Patch> patches_;
};

// Where each populated page begins.
inline std::vector<Gpa> pages_of(const walkers::Memory& memory) {
  std::vector<Gpa> pages;
  for (const auto& range : memory.populated())
    for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes) pages.push_back(range.start + at);
  return pages;
}

}  // namespace floe::fuzz
