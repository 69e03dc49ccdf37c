// One operation that does nothing, `count` times, `depth` of them at a time: what is left is the cost of the way in and out.
#pragma once

#include <cstdint>

#include "bench/engine/bench.hpp"
#include "bench/engine/liburing_ring.hpp"
#include "bench/engine/raw_ring.hpp"

namespace floe::bench {

// floe: `depth` tasks, each awaiting one nop after the other.
void floe_nops(engine::loop& on, std::uint64_t count, unsigned depth);

// Fill up to the depth, submit and wait, take what is there. Of a RawRing or a LiburingRing.
template <class Ring>
void bare_nops(Ring& ring, std::uint64_t count, unsigned depth);

}  // namespace floe::bench
