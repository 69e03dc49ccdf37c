// One operation that does nothing, `count` times, `depth` of them at a time: what is left is the cost of the way in and out.
#pragma once

#include <liburing.h>

#include <cstdint>

#include "bench/engine/bench.hpp"
#include "bench/engine/raw_ring.hpp"

namespace floe::bench {

// floe: `depth` tasks, each awaiting one nop after the other.
void floe_nops(engine::loop& on, std::uint64_t count, unsigned depth);

// Without any library, see raw_ring.hpp: fill up to the depth, submit and wait, take what is there.
void raw_nops(RawRing& ring, std::uint64_t count, unsigned depth);

// The same through liburing, with the flags its version allows.
class LiburingNops {
 public:
  LiburingNops();
  ~LiburingNops();
  void run(std::uint64_t count, unsigned depth);

 private:
  io_uring ring_{};
};

}  // namespace floe::bench
