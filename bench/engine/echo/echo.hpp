// A client sends a message over a unix socket, a server sends back what it got, the client compares and sends the next. Both ends of every
// pair live on one thread. All contenders keep their sockets, buffers and registrations from round to round.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/bench.hpp"

namespace floe::bench {

struct EchoShape {
  unsigned pairs;
  std::size_t bytes;
};

// Connected unix stream sockets, [0] the client's end. Blocking.
class Sockets {
 public:
  explicit Sockets(unsigned pairs);
  ~Sockets();
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  int client(unsigned pair) const { return ends_[pair][0]; }
  int server(unsigned pair) const { return ends_[pair][1]; }
  const int (*all() const)[2] { return ends_.get(); }
  void given_away() { pairs_ = 0; }

 private:
  unsigned pairs_;
  std::unique_ptr<int[][2]> ends_;
};

class Echo {
 public:
  virtual ~Echo() = default;
  virtual Sample run(std::uint64_t trips_each) = 0;  // cost per trip
};

std::unique_ptr<Echo> floe_echo(EchoShape shape);
std::unique_ptr<Echo> raw_echo(EchoShape shape);            // io_uring, a submission for each send and each receive
std::unique_ptr<Echo> liburing_echo(EchoShape shape);       // the same through liburing
std::unique_ptr<Echo> raw_multishot_echo(EchoShape shape);  // io_uring's best: multishot receives into provided buffers, fixed files
std::unique_ptr<Echo> epoll_echo(EchoShape shape);
std::unique_ptr<Echo> asio_echo(const AsioPeer& peer, EchoShape shape);

}  // namespace floe::bench
