#include "bench/engine/records/records.hpp"

namespace floe::bench {
namespace {

engine::task<void> read_all(RecordRing& ring, engine::poll_stream& doorbell, std::uint64_t drained) {
  while (ring.drained() < drained) {
    const auto rung = co_await doorbell.next();
    if (!rung) co_return rung.failure();
    if (!ring.drain()) co_return Error("a record is wrong");
  }
  co_return engine::ok;
}

}  // namespace

void FloeReader::read_until(std::uint64_t drained) {
  require(on_->run(read_all(ring_, doorbell_, drained)).has_value(), "floe: reading records failed");
}

}  // namespace floe::bench
