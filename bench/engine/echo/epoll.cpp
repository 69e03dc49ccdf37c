#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "bench/engine/echo/echo.hpp"
#include "bench/engine/echo/message.hpp"

namespace floe::bench {
namespace {

class EpollEcho : public Echo {
 public:
  explicit EpollEcho(EchoShape shape) : shape_(shape), sockets_(shape.pairs), epoll_(epoll_create1(EPOLL_CLOEXEC)), buffer_(shape.bytes) {
    for (unsigned pair = 0; pair < shape.pairs; ++pair) {
      talks_.push_back({Message(shape.bytes)});
      watch(sockets_.client(pair), pair * 2);
      watch(sockets_.server(pair), pair * 2 + 1);
    }
  }
  ~EpollEcho() override { close(epoll_); }

  Sample run(std::uint64_t trips) override {
    return charge(trips * shape_.pairs, [&] {
      open_ = shape_.pairs;
      for (unsigned pair = 0; pair < shape_.pairs; ++pair) {
        talks_[pair].left = trips;
        ask(pair);
      }
      std::array<epoll_event, 64> events;
      while (open_ != 0) {
        const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
        for (int index = 0; index < count; ++index) {
          const unsigned end = events[static_cast<unsigned>(index)].data.u32;
          (end & 1) != 0 ? serve(end / 2) : answered(end / 2);
        }
      }
    });
  }

 private:
  struct Talk {
    Message message;
    std::uint64_t left = 0;
  };

  void watch(int fd, unsigned end) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = end;
    require(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll: a socket was refused");
  }
  // The answer to a message fits into an empty socket, so a send is never partial here.
  void send_all(int fd, const std::byte* from, std::size_t bytes) {
    require(::send(fd, from, bytes, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes), "epoll: a part was not sent");
  }
  void ask(unsigned pair) { send_all(sockets_.client(pair), talks_[pair].message.prepare(talks_[pair].left), shape_.bytes); }

  void serve(unsigned pair) {
    const ssize_t got = ::recv(sockets_.server(pair), buffer_.data(), buffer_.size(), 0);
    require(got > 0, "epoll: a socket failed");
    send_all(sockets_.server(pair), buffer_.data(), static_cast<std::size_t>(got));
  }
  void answered(unsigned pair) {
    Talk& talk = talks_[pair];
    const ssize_t got = ::recv(sockets_.client(pair), talk.message.rest(), talk.message.missing(), 0);
    require(got > 0, "epoll: a socket failed");
    talk.message.arrived(static_cast<std::size_t>(got));
    if (!talk.message.complete()) return;
    require(talk.message.correct(), "epoll: a wrong answer");
    if (--talk.left != 0) return ask(pair);
    --open_;
  }

  EchoShape shape_;
  Sockets sockets_;
  int epoll_;
  std::vector<std::byte> buffer_;
  std::vector<Talk> talks_;
  unsigned open_ = 0;
};

}  // namespace

std::unique_ptr<Echo> epoll_echo(EchoShape shape) {
  return std::make_unique<EpollEcho>(shape);
}

}  // namespace floe::bench
