// Compiled into both Asio peers. With callbacks and without locks, which is the fastest that Asio has.
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <memory>

#include "bench/engine/asio_peer.hpp"
#include "bench/engine/echo/message.hpp"

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;

namespace {

struct Server {
  Server(asio::io_context& context, int fd, std::size_t bytes) : socket(context, asio::local::stream_protocol(), fd), buffer(bytes) {}
  void serve(std::uint64_t more) {
    left = more;
    receive();
  }
  void receive() {
    socket.async_read_some(asio::buffer(buffer), [this](const error_code& error, std::size_t got) {
      if (!error) answer(got);
    });
  }
  void answer(std::size_t got) {
    asio::async_write(socket, asio::buffer(buffer.data(), got), [this](const error_code& error, std::size_t sent) {
      left -= sent;
      if (!error && left != 0) receive();
    });
  }
  Socket socket;
  std::vector<std::byte> buffer;
  std::uint64_t left = 0;  // bytes
};

struct Client {
  Client(asio::io_context& context, int fd, std::size_t bytes) : socket(context, asio::local::stream_protocol(), fd), message(bytes) {}
  void ask() {
    asio::async_write(socket, asio::buffer(message.prepare(left), message.size()), [this](const error_code& error, std::size_t) {
      if (!error) receive();
    });
  }
  void receive() {
    socket.async_read_some(asio::buffer(message.rest(), message.missing()), [this](const error_code& error, std::size_t got) {
      if (error) return;
      message.arrived(got);
      if (!message.complete()) return receive();
      right += message.correct();
      if (--left != 0) ask();
    });
  }
  Socket socket;
  floe::bench::Message message;
  std::uint64_t left = 0, right = 0;  // trips
};

struct Echo {
  asio::io_context context{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
  std::vector<std::unique_ptr<Server>> servers;
  std::vector<std::unique_ptr<Client>> clients;
};

}  // namespace

void* floe_asio_echo_open(const int (*sockets)[2], unsigned pairs, std::size_t bytes) {
  auto echo = std::make_unique<Echo>();
  for (unsigned pair = 0; pair < pairs; ++pair) {
    echo->clients.push_back(std::make_unique<Client>(echo->context, sockets[pair][0], bytes));
    echo->servers.push_back(std::make_unique<Server>(echo->context, sockets[pair][1], bytes));
  }
  return echo.release();
}

void floe_asio_echo_close(void* echo) {
  delete static_cast<Echo*>(echo);
}

std::uint64_t floe_asio_echo_run(void* echo, std::uint64_t trips_each) {
  auto& own = *static_cast<Echo*>(echo);
  std::uint64_t right = 0;
  for (auto& server : own.servers) server->serve(trips_each * server->buffer.size());
  for (auto& client : own.clients) {
    client->left = trips_each;
    client->right = 0;
    client->ask();
  }
  own.context.run();
  own.context.restart();
  for (auto& client : own.clients) right += client->right;
  return right;
}
