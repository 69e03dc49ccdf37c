#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <random>

#include "freeze/dirty_source.hpp"

namespace floe::freeze {
namespace {

// Keeps XXH3-64 of every page, under a random seed so that a guest cannot aim for equal hashes. A hole hashes as a zero page and is never
// touched.
class Compare final : public DirtySource {
 public:
  explicit Compare(vmm::GuestRam& ram)
      : ram_(ram), seed_(std::random_device{}() * 0x9e37'79b9'7f4a'7c15ULL), zero_(hash(kZeroes.data())), hashes_(ram.pages(), zero_) {}

  const char* name() const override { return "compare"; }
  bool live() const override { return false; }

  Result<> arm() override {
    scan([](std::uint64_t) {});
    return {};
  }

  Result<> collect(std::span<std::uint64_t> into) override {
    scan([into](std::uint64_t page) { into[page / 64] |= std::uint64_t{1} << (page % 64); });
    return {};
  }

 private:
  static constexpr std::array<std::byte, kPageBytes> kZeroes{};

  std::uint64_t hash(const std::byte* page) const { return XXH3_64bits_withSeed(page, kPageBytes, seed_); }

  // Calls changed(page) for every page with another hash than last time, and keeps the new one.
  template <class Changed>
  void scan(Changed changed) {
    std::uint64_t page = 0;
    while (page < ram_.pages()) {
      const off_t data = ::lseek(ram_.fd(), static_cast<off_t>(page * kPageBytes), SEEK_DATA);
      const std::uint64_t first = data < 0 ? ram_.pages() : static_cast<std::uint64_t>(data) / kPageBytes;
      for (; page < first; ++page) note(page, zero_, changed);
      if (page >= ram_.pages()) return;
      const off_t hole = ::lseek(ram_.fd(), data, SEEK_HOLE);
      const std::uint64_t end =
          hole < 0 ? ram_.pages() : std::min<std::uint64_t>(static_cast<std::uint64_t>(hole) / kPageBytes, ram_.pages());
      for (; page < end; ++page) note(page, hash(ram_.page(page)), changed);
    }
  }

  template <class Changed>
  void note(std::uint64_t page, std::uint64_t now, Changed& changed) {
    if (hashes_[page] == now) return;
    hashes_[page] = now;
    changed(page);
  }

  vmm::GuestRam& ram_;
  std::uint64_t seed_;
  std::uint64_t zero_;
  std::vector<std::uint64_t> hashes_;
};

}  // namespace

std::unique_ptr<DirtySource> create_compare(vmm::GuestRam& ram) {
  return std::make_unique<Compare>(ram);
}

}  // namespace floe::freeze
