// "echo: N B, P pairs": CPU time of a round trip (two sends, two receives). Promised: with one pair of 64 bytes 1.08 times the throughput
// of one submission per receive, through liburing and without it; everywhere ahead of Asio.
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/engine/echo/echo.hpp"

namespace floe::bench {

Sockets::Sockets(unsigned pairs) : pairs_(pairs), ends_(new int[pairs][2]) {
  for (unsigned pair = 0; pair < pairs; ++pair) require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_[pair]) == 0, "no sockets");
}

Sockets::~Sockets() {
  for (unsigned pair = 0; pair < pairs_; ++pair)
    for (const int fd : ends_[pair]) close(fd);
}

namespace {

class AsioEcho : public Echo {
 public:
  AsioEcho(const AsioPeer& peer, EchoShape shape) : peer_(peer), pairs_(shape.pairs) {
    Sockets sockets(shape.pairs);
    echo_ = peer.echo_open(sockets.all(), shape.pairs, shape.bytes);
    sockets.given_away();
  }
  ~AsioEcho() override { peer_.echo_close(echo_); }
  AsioEcho(const AsioEcho&) = delete;
  AsioEcho& operator=(const AsioEcho&) = delete;

  Sample run(std::uint64_t trips) override {
    const std::uint64_t all = trips * pairs_;
    return charge(all, [&] { require(peer_.echo_run(echo_, trips) == all, "Asio: a wrong answer"); });
  }

 private:
  const AsioPeer& peer_;
  unsigned pairs_;
  void* echo_;
};

void echo_row(Bench& bench, EchoShape shape) {
  Row row{fmt::format("echo: {} B, {} pair{}", shape.bytes, shape.pairs, shape.pairs == 1 ? "" : "s"), "ns/trip", "raw io_uring",
          Ratio::throughput};
  if (!bench.wants(row)) return;
  const std::uint64_t trips = bench.scaled(10'000) / shape.pairs;
  std::vector<std::shared_ptr<Echo>> made;
  std::vector<Lane> lanes;
  const auto add = [&](const std::string& name, std::unique_ptr<Echo> echo) {
    made.push_back(std::move(echo));
    lanes.push_back({name, [own = made.back(), trips] { return own->run(trips); }});
  };
  add("raw io_uring", raw_echo(shape));
  add("liburing", liburing_echo(shape));
  add("raw io_uring, multishot", raw_multishot_echo(shape));
  add("epoll", epoll_echo(shape));
  for (const AsioPeer& peer : asio_peers()) {
    if (peer.absent.empty()) {
      add(peer.name, asio_echo(peer, shape));
    } else {
      lanes.push_back({.name = peer.name, .absent = peer.absent});
    }
  }
  add("floe", floe_echo(shape));
  race(row, lanes, bench.rounds());
  if (shape.bytes == 64 && shape.pairs == 1)
    row.promises = {ratio_at_least(row, "floe", 1.08), ratio_at_least(row, "floe", 1.08, "liburing")};
  for (const AsioPeer& peer : asio_peers()) row.promises.push_back(ahead_of(row, "floe", peer.name));
  row.promises.push_back(allocates_nothing(row));
  bench.add(std::move(row));
}

}  // namespace

std::unique_ptr<Echo> asio_echo(const AsioPeer& peer, EchoShape shape) {
  return std::make_unique<AsioEcho>(peer, shape);
}

void echo_rows(Bench& bench) {
  for (const unsigned pairs : {1U, 32U})
    for (const std::size_t bytes : {std::size_t{64}, std::size_t{4096}}) echo_row(bench, {pairs, bytes});
}

}  // namespace floe::bench
