// 256 reads wait, all become readable at once, and one of them belongs to a task with a deadline: when does that one run? The kernel hands
// completions over in batches (20 with deferred task work), in the order in which they came.
#pragma once

#include <array>
#include <cstddef>

#include "bench/engine/bench.hpp"
#include "bench/engine/raw_ring.hpp"

namespace floe::bench {

inline constexpr unsigned kBurst = 256;

class Eventfds {
 public:
  Eventfds();
  ~Eventfds();
  Eventfds(const Eventfds&) = delete;
  Eventfds& operator=(const Eventfds&) = delete;
  int operator[](unsigned index) const { return fds_[index]; }
  void signal_all() const;

 private:
  std::array<int, kBurst> fds_;
};

struct Urgent {
  double batches = 0;         // io_uring_enter calls from the signals until it ran
  double resumes_before = 0;  // of the others
};

// The task of event `urgent` (in the order of the signals) has the deadline.
Urgent floe_burst(engine::loop& on, const Eventfds& events, unsigned urgent);
// In the order of completion: when its completion is seen.
Urgent raw_burst(RawRing& ring, const Eventfds& events, unsigned urgent);

}  // namespace floe::bench
