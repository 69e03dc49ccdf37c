// Addresses that a walk has been at. They are the guest's choice, so their place in the set must not be: the hash is seeded anew for
// each set, or a guest could make every look-up as long as the set.
#pragma once

#include <cstdint>
#include <unordered_set>

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
  AddressSet() : set_(64, SeededHash{random_seed()}) {}
  bool insert(std::uint64_t address) { return set_.insert(address).second; }  // false: it was in
  bool contains(std::uint64_t address) const { return set_.contains(address); }
  std::size_t size() const { return set_.size(); }

 private:
  std::unordered_set<std::uint64_t, SeededHash> set_;
};

}  // namespace floe::walkers
