// The kernel's resizable hash table (lib/rhashtable.c), element by element.
//
// A chain hangs on a bucket whose lowest bit is a lock and ends in an odd pointer, the nulls marker. A table that could not be had in one
// piece is a tree of pages (bucket_table.nest). While it is being resized, elements are in the old table or in the one that future_tbl
// leads to, and a walker can be led from the one into the other: each element is visited once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/field.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/types.hpp"

namespace floe::walkers {

struct RhashtableFields {
  Field table;                // rhashtable.tbl
  Field size, buckets, next;  // bucket_table.size, .buckets; rhash_head.next
  std::optional<Field> nest, future_table;

  // Error: the kernel's BTF lacks a member.
  static Result<RhashtableFields> resolve(const Types& types);
};

struct RhashtableWalk {
  bool complete = true;               // every chain was followed to its end
  std::vector<std::string> problems;  // why not, the first kMaxProblems of them

  static constexpr std::size_t kMaxProblems = 16;
};

// Calls visit(address of the rhash_head) for each element of the table at `table`; it may return false to stop.
RhashtableWalk walk_rhashtable(const KernelMemory& memory, const RhashtableFields& fields, Kva table, WalkBudget& budget,
                               const std::function<bool(Kva)>& visit);

}  // namespace floe::walkers
