#include "bench/engine/echo/echo.hpp"
#include "bench/engine/echo/message.hpp"
#include "bench/engine/liburing_ring.hpp"
#include "bench/engine/raw_ring.hpp"

namespace floe::bench {
namespace {

enum Kind : std::uint64_t { kClientSent, kClientReceived, kServerReceived, kServerSent };

template <class Ring>
class BareEcho : public Echo {
 public:
  explicit BareEcho(EchoShape shape) : shape_(shape), sockets_(shape.pairs) {
    for (unsigned pair = 0; pair < shape.pairs; ++pair) talks_.push_back({Message(shape.bytes), std::vector<std::byte>(shape.bytes)});
  }

  Sample run(std::uint64_t trips) override {
    return charge(trips * shape_.pairs, [&] {
      for (unsigned pair = 0; pair < shape_.pairs; ++pair) {
        talks_[pair].left = trips;
        talks_[pair].to_serve = trips * shape_.bytes;
        receive(pair, kServerReceived);
        ask(pair);
      }
      open_ = shape_.pairs * 2;
      while (open_ != 0) {
        ring_.enter(1);
        ring_.walk(
            [this](const io_uring_cqe& done) { on_completion(done.user_data & 3, static_cast<unsigned>(done.user_data >> 2), done.res); });
      }
    });
  }

 private:
  struct Talk {
    Message message;
    std::vector<std::byte> buffer;  // the server's
    std::uint64_t left = 0;         // trips
    std::uint64_t to_serve = 0;     // bytes
  };

  void submit(std::uint8_t opcode, int fd, const void* address, std::size_t bytes, Kind kind, unsigned pair) {
    io_uring_sqe& entry = ring_.entry();
    entry.opcode = opcode;
    entry.fd = fd;
    entry.addr = reinterpret_cast<std::uint64_t>(address);
    entry.len = static_cast<std::uint32_t>(bytes);
    entry.user_data = pair << 2 | kind;
  }
  void ask(unsigned pair) {
    Talk& talk = talks_[pair];
    submit(IORING_OP_SEND, sockets_.client(pair), talk.message.prepare(talk.left), talk.message.size(), kClientSent, pair);
  }
  void receive(unsigned pair, Kind kind) {
    Talk& talk = talks_[pair];
    if (kind == kClientReceived) {
      submit(IORING_OP_RECV, sockets_.client(pair), talk.message.rest(), talk.message.missing(), kind, pair);
    } else {
      submit(IORING_OP_RECV, sockets_.server(pair), talk.buffer.data(), talk.buffer.size(), kind, pair);
    }
  }

  void on_completion(std::uint64_t kind, unsigned pair, int result) {
    require(result > 0, "a bare ring: a socket failed");
    Talk& talk = talks_[pair];
    switch (kind) {
      case kClientSent:
        require(static_cast<std::size_t>(result) == talk.message.size(), "a bare ring: a part was not sent");
        return receive(pair, kClientReceived);
      case kClientReceived:
        talk.message.arrived(static_cast<std::size_t>(result));
        if (!talk.message.complete()) return receive(pair, kClientReceived);
        require(talk.message.correct(), "a bare ring: a wrong answer");
        if (--talk.left != 0) return ask(pair);
        --open_;
        return;
      case kServerReceived:
        return submit(IORING_OP_SEND, sockets_.server(pair), talk.buffer.data(), static_cast<std::size_t>(result), kServerSent, pair);
      default:
        talk.to_serve -= static_cast<std::size_t>(result);
        if (talk.to_serve != 0) return receive(pair, kServerReceived);
        --open_;
    }
  }

  EchoShape shape_;
  Sockets sockets_;
  Ring ring_;
  std::vector<Talk> talks_;
  unsigned open_ = 0;
};

}  // namespace

std::unique_ptr<Echo> raw_echo(EchoShape shape) {
  return std::make_unique<BareEcho<RawRing>>(shape);
}

std::unique_ptr<Echo> liburing_echo(EchoShape shape) {
  return std::make_unique<BareEcho<LiburingRing>>(shape);
}

}  // namespace floe::bench
