// "records: ...": CPU time of the reader per record, its wake included: bursts of 32 records, 100 us apart, so that it sleeps before each.
#include <thread>

#include "bench/engine/records/records.hpp"

namespace floe::bench {
namespace {

constexpr unsigned kPerBurst = 32;

template <class Reader>
Sample read_bursts(Reader& reader, std::uint64_t bursts) {
  const std::uint64_t first = reader.ring().drained();
  const std::uint64_t count = bursts * kPerBurst;
  std::thread writer([&] {
    pin_to_peer_core();
    double next = monotonic_nanos();
    for (std::uint64_t written = 0; written < count; ++written) {
      if (written % kPerBurst == 0) sleep_until_nanos(next += 100'000);
      while (!reader.ring().write(first + written)) std::this_thread::yield();
    }
  });
  const Sample taken = charge(count, [&] { reader.read_until(first + count); });
  writer.join();
  return taken;
}

}  // namespace

void record_rows(Bench& bench) {
  Row row{"records: drain a ring behind a poll", "ns/record", "raw io_uring"};
  if (!bench.wants(row)) return;
  const std::uint64_t bursts = bench.scaled(1'000);
  FloeReader floe;
  RawReader raw;
  EpollReader epoll;
  race(row,
       {{"raw io_uring", [&] { return read_bursts(raw, bursts); }},
        {"epoll", [&] { return read_bursts(epoll, bursts); }},
        {"floe", [&] { return read_bursts(floe, bursts); }}},
       bench.rounds());
  row.promises = {allocates_nothing(row)};
  bench.add(std::move(row));
}

}  // namespace floe::bench
