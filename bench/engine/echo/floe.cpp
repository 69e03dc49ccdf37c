#include "bench/engine/echo/echo.hpp"
#include "bench/engine/echo/message.hpp"

namespace floe::bench {
namespace {

using engine::byte_stream;
using engine::ok;
using engine::task;

task<void> serve(byte_stream& requests, engine::file_ref to, std::uint64_t bytes) {
  for (std::uint64_t served = 0; served < bytes;) {
    const auto request = co_await requests.next();
    if (!request) co_return request.failure();
    const auto sent = co_await engine::send(to, request->bytes());
    if (!sent) co_return sent.failure();
    if (*sent != request->bytes().size()) co_return Error("a part of an answer was not sent");
    served += *sent;
  }
  co_return ok;
}

task<void> ask(byte_stream& answers, engine::file_ref to, Message& message, std::uint64_t trips) {
  for (std::uint64_t trip = 0; trip < trips; ++trip) {
    const std::span<const std::byte> question(message.prepare(trip), message.size());
    const auto sent = co_await engine::send(to, question);
    if (!sent) co_return sent.failure();
    while (!message.complete()) {
      const auto answer = co_await answers.next();
      if (!answer) co_return answer.failure();
      if (answer->at_end() || !message.take(answer->bytes().data(), answer->bytes().size())) co_return Error("a wrong answer");
    }
  }
  co_return ok;
}

class FloeEcho : public Echo {
 public:
  explicit FloeEcho(EchoShape shape) : shape_(shape), sockets_(shape.pairs) {
    for (unsigned pair = 0; pair < shape.pairs; ++pair) {
      messages_.emplace_back(shape.bytes);
      for (const int fd : {sockets_.client(pair), sockets_.server(pair)}) {
        auto added = engine::fixed_file::add(fd);
        require(added.has_value(), "floe: a file cannot be registered");
        auto opened = byte_stream::open(*added, {.buffers = 4, .buffer_bytes = 4096, .socket = true});
        require(opened.has_value(), "floe: a stream cannot be opened");
        streams_.push_back(std::move(*opened));
        files_.push_back(std::move(*added));
      }
    }
  }

  Sample run(std::uint64_t trips) override {
    return charge(*on_, trips * shape_.pairs, [&] {
      const auto ended = on_->run(all(*this, trips));
      require(ended.has_value(), "floe: an echo failed");
    });
  }

 private:
  static task<void> all(FloeEcho& self, std::uint64_t trips) {
    engine::scope talks("echo");
    for (unsigned pair = 0; pair < self.shape_.pairs; ++pair) {
      talks.spawn(serve(self.streams_[pair * 2 + 1], self.files_[pair * 2 + 1], trips * self.shape_.bytes), "server");
      talks.spawn(ask(self.streams_[pair * 2], self.files_[pair * 2], self.messages_[pair], trips), "client");
    }
    const auto joined = co_await talks.join();
    if (!joined) co_return joined.failure();
    co_return ok;
  }

  EchoShape shape_;
  std::unique_ptr<engine::loop> on_ = make_loop();
  Sockets sockets_;
  std::vector<Message> messages_;
  std::vector<engine::fixed_file> files_;
  std::vector<byte_stream> streams_;
};

}  // namespace

std::unique_ptr<Echo> floe_echo(EchoShape shape) {
  return std::make_unique<FloeEcho>(shape);
}

}  // namespace floe::bench
