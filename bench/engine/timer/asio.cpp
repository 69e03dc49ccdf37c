// Compiled into both Asio peers.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "bench/engine/asio_peer.hpp"

namespace asio = boost::asio;

std::uint64_t floe_asio_timeouts(std::uint64_t count) {
  asio::io_context context{1};
  asio::steady_timer timer(context);
  std::uint64_t cancelled = 0;
  for (std::uint64_t index = 0; index < count; ++index) {
    timer.expires_after(std::chrono::seconds(10));
    timer.async_wait([&cancelled](const boost::system::error_code& why) { cancelled += why == asio::error::operation_aborted; });
    timer.cancel();
    context.run();
    context.restart();
  }
  return cancelled;
}
