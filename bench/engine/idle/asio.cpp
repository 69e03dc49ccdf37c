// Compiled into both Asio peers.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

#include "bench/engine/asio_peer.hpp"

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {
struct Job {
  Job(asio::io_context& context, Clock::time_point first) : timer(context, first) {}
  void wait(std::uint64_t& ticks) {
    timer.async_wait([this, &ticks](const boost::system::error_code& why) {
      if (why) return;
      ++ticks;
      timer.expires_at(timer.expiry() + std::chrono::seconds(1));
      wait(ticks);
    });
  }
  asio::steady_timer timer;
};
}  // namespace

std::uint64_t floe_asio_idle(unsigned jobs, std::int64_t (*phase)(unsigned job), std::int64_t duration) {
  asio::io_context context{1};
  std::vector<std::unique_ptr<Job>> all;
  std::uint64_t ticks = 0;
  const Clock::time_point start = Clock::now();
  for (unsigned job = 0; job < jobs; ++job) {
    all.push_back(std::make_unique<Job>(context, start + std::chrono::nanoseconds(phase(job))));
    all.back()->wait(ticks);
  }
  context.run_until(start + std::chrono::nanoseconds(duration));
  return ticks;
}
