// The kernel's resizable hash table (lib/rhashtable.c), element by element.
//
// A chain hangs on a bucket whose lowest bit is a lock and ends in an odd pointer, the nulls marker. A table that could not be had in one
// piece is a tree of pages (bucket_table.nest). While it is being resized, elements are in the old table or in the one that future_tbl
// leads to, and a walker can be led from the one into the other: each element is visited once.
#pragma once

#include <functional>

#include "walkers/scx/walk.hpp"

namespace floe::walkers::scx {

// Calls visit(rhash_head) for each element. What could not be followed becomes a problem of the walk; false if anything did.
bool walk_rhashtable(Walk& walk, Kva table, const std::function<void(Kva)>& visit);

}  // namespace floe::walkers::scx
