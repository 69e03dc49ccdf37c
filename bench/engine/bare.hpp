// What the engine is compared with: the same checked work, written straight against the kernel or the language.
#pragma once

#include <cstdint>
#include <memory>

namespace floe::bench {

// liburing with the best flags it can set up (SINGLE_ISSUER, DEFER_TASKRUN, registered ring; not NO_SQARRAY, which 2.3 breaks and the
// engine uses): fill the depth, submit and wait, drain.
class bare_ring {
 public:
  bare_ring();
  ~bare_ring();
  void nops(std::uint64_t count, unsigned depth);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

// The smallest lazy coroutine with a pooled frame: no error, no cancellation, no context. Sums `count` awaited results.
std::uint64_t bare_tasks(std::uint64_t count);

// A thread posts `count` numbers to this thread through a lock-free stack; this one sleeps on an eventfd when it is empty.
// Gives the sum received; `poster_nanos` is what the posting thread used.
std::uint64_t bare_posts(std::uint64_t count, double& poster_nanos);

}  // namespace floe::bench
