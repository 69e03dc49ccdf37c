// xarrays and the IDRs built on them: every (index, pointer) of the tree, in order of the index.
//
// The walk follows the tree itself and not the counter of an IDR: ids are handed out cyclically, so after a wrap live ones lie above
// idr_next. An entry whose low two bits are 10 is internal: a node when it is above 4096, else a mark of the tree's own (a sibling of
// the slot before, a retry, a reserved zero); an odd one is a number and no pointer (include/linux/xarray.h).
//
// The tree is the guest's. Every level's shift must be exactly 6 below its parent's, as xas_create() builds it, and no node is entered
// twice, so a tree that loops or shares its nodes ends; what could not be followed is counted and told.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct XarrayWalk {
  std::uint64_t entries = 0;          // visited
  bool complete = true;               // all of the tree was read
  std::vector<std::string> problems;  // why not, the first kMaxProblems of them
  std::uint64_t problem_count = 0;

  static constexpr std::size_t kMaxProblems = 8;
};

// Of the pointers alone; false ends the walk, which is then not complete.
using XarrayVisit = std::function<bool(std::uint64_t index, Kva pointer)>;

// The struct xarray at `array`. Spends a step on each node and each pointer. Error: BTF lacks what the walk needs.
Result<XarrayWalk> walk_xarray(const Kernel& kernel, Kva array, WalkBudget& budget, const XarrayVisit& visit);

// The struct idr at `idr`: ids with its idr_base added.
Result<XarrayWalk> walk_idr(const Kernel& kernel, Kva idr, WalkBudget& budget, const XarrayVisit& visit);

}  // namespace floe::walkers
