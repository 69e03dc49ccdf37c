// How often operator new was called since the start, by any thread. Linking this replaces the global operator new of release builds;
// debug builds have a checking one already (base/no_alloc.hpp) and count nothing.
#pragma once

#include <cstdint>

namespace floe::bench {

std::uint64_t allocations();
bool allocations_are_counted();

}  // namespace floe::bench
