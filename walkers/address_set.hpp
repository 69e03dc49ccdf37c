// The addresses a walk has been to. A list the guest bent into a loop, or two lists it joined, is seen by meeting an address again.
//
// Most chains hold a handful of nodes, so the first of them are compared one by one. Beyond those the addresses are hashed; they are the
// guest's choice, so their place in the set must not be: the hash is seeded anew for each set, or a guest could make every look-up as
// long as the set.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "base/address.hpp"

namespace floe::walkers {

struct SeededHash {
  std::uint64_t seed;
  std::size_t operator()(std::uint64_t value) const {
    value = (value ^ seed) * 0x9e3779b97f4a7c15u;
    value = (value ^ value >> 32) * 0xff51afd7ed558ccdu;
    return value ^ value >> 29;
  }
};

std::uint64_t random_seed();

class AddressSet {
 public:
  // False: it was in.
  bool insert(std::uint64_t address) {
    if (many_) return many_->insert(address).second;
    if (std::find(few_.begin(), few_.end(), address) != few_.end()) return false;
    few_.push_back(address);
    if (few_.size() > kFew) many_.emplace(few_.begin(), few_.end(), 64, SeededHash{random_seed()});
    return true;
  }
  bool insert(Kva address) { return insert(address.value); }

  bool contains(std::uint64_t address) const {
    return many_ ? many_->contains(address) : std::find(few_.begin(), few_.end(), address) != few_.end();
  }
  std::size_t size() const { return many_ ? many_->size() : few_.size(); }
  void clear() {
    few_.clear();
    many_.reset();
  }

 private:
  static constexpr std::size_t kFew = 24;
  std::vector<std::uint64_t> few_;
  std::optional<std::unordered_set<std::uint64_t, SeededHash>> many_;
};

}  // namespace floe::walkers
