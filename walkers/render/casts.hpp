// Which integers of a program's types hold pointers. BPF programs keep arena and kernel pointers in u64 members, since their types
// cannot say what they are; that they are pointers is found in the instructions (walkers/bpf/casts.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

namespace floe::walkers::render {

enum class CastSpace : std::uint8_t { kArena, kKernel };

// An integer, by where it is declared. The same member is meant in whatever the struct is a part of.
struct CastKey {
  std::uint32_t parent = 0;  // id of the struct or union it stands in directly, even an anonymous one; or of the BTF_KIND_VAR
  std::uint32_t offset = 0;  // bytes from the start of that; of an array of integers the array's, 0 for a variable

  friend bool operator<(const CastKey& a, const CastKey& b) { return std::tie(a.parent, a.offset) < std::tie(b.parent, b.offset); }
  friend bool operator==(const CastKey&, const CastKey&) = default;
};

struct Cast {
  CastKey key;
  CastSpace space = CastSpace::kArena;
  std::uint32_t target = 0;      // id of what it points to, in the same BTF; 0: not known
  std::uint32_t size_match = 0;  // id of the only struct as large as what is allocated for it, where the target is not known
};

// Those of one BTF, sorted.
class Casts {
 public:
  Casts() = default;
  explicit Casts(std::vector<Cast> casts) : casts_(std::move(casts)) {
    std::sort(casts_.begin(), casts_.end(), [](const Cast& a, const Cast& b) { return a.key < b.key; });
  }

  const Cast* find(CastKey key) const {
    const auto at = std::lower_bound(casts_.begin(), casts_.end(), key, [](const Cast& cast, const CastKey& k) { return cast.key < k; });
    return at != casts_.end() && at->key == key ? &*at : nullptr;
  }

  const std::vector<Cast>& all() const { return casts_; }

 private:
  std::vector<Cast> casts_;
};

}  // namespace floe::walkers::render
