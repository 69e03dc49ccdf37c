#include "bench/engine/nop/nop.hpp"

namespace floe::bench {

template <class Ring>
void bare_nops(Ring& ring, std::uint64_t count, unsigned depth) {
  std::uint64_t submitted = 0, completed = 0;
  bool all_well = true;
  while (completed < count) {
    while (submitted < count && submitted - completed < depth) {
      io_uring_sqe& entry = ring.entry();
      entry.opcode = IORING_OP_NOP;
      entry.user_data = ++submitted;
    }
    ring.enter(1);
    completed += ring.walk([&](const io_uring_cqe& done) { all_well &= done.res == 0; });
  }
  require(all_well && completed == count, "a bare ring: a nop failed");
}

template void bare_nops(RawRing& ring, std::uint64_t count, unsigned depth);
template void bare_nops(LiburingRing& ring, std::uint64_t count, unsigned depth);

}  // namespace floe::bench
