// Another thread writes records in bursts; a task behind a poll of the doorbell reads them. Each reader runs until so many are drained.
#pragma once

#include <memory>

#include "bench/engine/bench.hpp"
#include "bench/engine/raw_ring.hpp"
#include "bench/engine/records/record_ring.hpp"

namespace floe::bench {

class FloeReader {
 public:
  void read_until(std::uint64_t drained);
  RecordRing& ring() { return ring_; }

 private:
  std::unique_ptr<engine::loop> on_ = make_loop();
  RecordRing ring_;
  engine::poll_stream doorbell_ = engine::poll_stream::open(ring_.doorbell(), 1 /* POLLIN */);
};

class RawReader {  // a multishot poll, as the engine's
 public:
  RawReader() { arm(); }
  void read_until(std::uint64_t drained);
  RecordRing& ring() { return ring_; }

 private:
  void arm();
  RecordRing ring_;
  RawRing uring_;
};

class EpollReader {  // edge-triggered
 public:
  EpollReader();
  ~EpollReader();
  void read_until(std::uint64_t drained);
  RecordRing& ring() { return ring_; }

 private:
  RecordRing ring_;
  int epoll_;
};

}  // namespace floe::bench
