// The addresses a walk has been to. A list the guest bent into a loop, or two lists it joined, is seen by meeting an address again.
//
// Most chains hold a handful of nodes, so the first of them are compared one by one; longer ones go into a tree, whose cost the guest
// cannot raise by choosing addresses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "base/address.hpp"

namespace floe::walkers {

class Visited {
 public:
  // False when it was there before.
  bool insert(Kva address) {
    if (!tree_.empty()) return tree_.insert(address.value).second;
    if (std::find(few_.begin(), few_.end(), address.value) != few_.end()) return false;
    few_.push_back(address.value);
    if (few_.size() > kFew) tree_.insert(few_.begin(), few_.end());
    return true;
  }

  void clear() {
    few_.clear();
    tree_.clear();
  }

 private:
  static constexpr std::size_t kFew = 24;
  std::vector<std::uint64_t> few_;
  std::set<std::uint64_t> tree_;
};

}  // namespace floe::walkers
