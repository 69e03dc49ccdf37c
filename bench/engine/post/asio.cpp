// Compiled into both Asio peers.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "bench/engine/asio_peer.hpp"

namespace {

namespace asio = boost::asio;

struct Receiver {
  asio::io_context context{1};
  bool (*take)(void* inbox, std::uint64_t value) = nullptr;
  void* inbox = nullptr;
  bool done = false;

  void on_post(std::uint64_t value) {
    if (!take(inbox, value)) return;
    done = true;
    context.stop();
  }
  void keep_awake() {
    if (!done) asio::post(context, [this] { keep_awake(); });
  }
};

}  // namespace

void* floe_asio_post_open() {
  return new Receiver;
}
void floe_asio_post_close(void* receiver) {
  delete static_cast<Receiver*>(receiver);
}

void floe_asio_post(void* receiver, std::uint64_t value) {
  auto* const to = static_cast<Receiver*>(receiver);
  asio::post(to->context, [to, value] { to->on_post(value); });
}

void floe_asio_post_receive(void* receiver, bool (*take)(void*, std::uint64_t), void* inbox, bool awake) {
  auto& own = *static_cast<Receiver*>(receiver);
  const auto work = asio::make_work_guard(own.context);
  own.take = take;
  own.inbox = inbox;
  own.done = false;
  own.context.restart();
  if (awake) own.keep_awake();
  own.context.run();
  own.context.restart();
  own.context.poll();  // what keeps it awake may still be queued
}
