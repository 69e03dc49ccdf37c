// Compiled into both Asio peers.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "bench/engine/asio_peer.hpp"

namespace asio = boost::asio;

namespace {
struct Sleeper {
  asio::io_context context{1};
  asio::steady_timer timer{context};
};
}  // namespace

void* floe_asio_sleeper_open() {
  return new Sleeper;
}
void floe_asio_sleeper_close(void* sleeper) {
  delete static_cast<Sleeper*>(sleeper);
}

double floe_asio_sleeper_lateness(void* sleeper, std::int64_t due) {
  auto& own = *static_cast<Sleeper*>(sleeper);
  const std::chrono::steady_clock::time_point when{std::chrono::nanoseconds(due)};
  double late = -1;
  own.timer.expires_at(when);
  own.timer.async_wait([&](const boost::system::error_code& why) {
    if (!why) late = static_cast<double>((std::chrono::steady_clock::now() - when).count());
  });
  own.context.run();
  own.context.restart();
  return late;
}
