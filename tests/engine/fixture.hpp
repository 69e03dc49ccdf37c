// What every engine test needs: a loop, usually on a manual clock.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <utility>

#include "engine/engine.hpp"

namespace floe::engine::testing {

inline std::unique_ptr<loop> make_loop(loop_options options) {
  auto made = loop::create(std::move(options));
  if (!made) BOOST_FAIL(made.error().message);
  return std::move(*made);
}

inline std::unique_ptr<loop> make_loop(manual_clock* clock = nullptr) {
  loop_options options;
  options.clock = clock;
  return make_loop(std::move(options));
}

struct pipe_ends {
  UniqueFd from, to;
};
inline pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  BOOST_REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}
inline pipe_ends make_sockets() {
  std::array<int, 2> ends{};
  BOOST_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace floe::engine::testing
