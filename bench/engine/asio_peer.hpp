// Boost.Asio as a rival, on io_uring and on epoll. The two differ by macros that change the layout of Asio's types, so one program must not
// link both: each is a module of its own (the same sources, built twice, everything hidden but these functions), loaded at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#define FLOE_ASIO_ENTRY extern "C" __attribute__((visibility("default")))

// post/asio.cpp
FLOE_ASIO_ENTRY void* floe_asio_post_open();
FLOE_ASIO_ENTRY void floe_asio_post_close(void* receiver);
FLOE_ASIO_ENTRY void floe_asio_post(void* receiver, std::uint64_t value);  // any thread
// Runs until take() says that this was the last one. awake: something else keeps the context busy meanwhile.
FLOE_ASIO_ENTRY void floe_asio_post_receive(void* receiver, bool (*take)(void* inbox, std::uint64_t value), void* inbox, bool awake);

// timer/asio.cpp: sets and cancels so many; gives how many said that they were cancelled.
FLOE_ASIO_ENTRY std::uint64_t floe_asio_timeouts(std::uint64_t count);

// lateness/asio.cpp
FLOE_ASIO_ENTRY void* floe_asio_sleeper_open();
FLOE_ASIO_ENTRY void floe_asio_sleeper_close(void* sleeper);
FLOE_ASIO_ENTRY double floe_asio_sleeper_lateness(void* sleeper, std::int64_t due);

// echo/asio.cpp: takes the sockets over. Gives how many trips were right.
FLOE_ASIO_ENTRY void* floe_asio_echo_open(const int (*sockets)[2], unsigned pairs, std::size_t bytes);
FLOE_ASIO_ENTRY void floe_asio_echo_close(void* echo);
FLOE_ASIO_ENTRY std::uint64_t floe_asio_echo_run(void* echo, std::uint64_t trips_each);

// idle/asio.cpp: gives the ticks of all jobs.
FLOE_ASIO_ENTRY std::uint64_t floe_asio_idle(unsigned jobs, std::int64_t (*phase)(unsigned job), std::int64_t duration);

namespace floe::bench {

struct AsioPeer {
  std::string name;
  std::string absent = {};  // why it could not be loaded; then the rest is null
  decltype(&floe_asio_post_open) post_open = nullptr;
  decltype(&floe_asio_post_close) post_close = nullptr;
  decltype(&floe_asio_post) post = nullptr;
  decltype(&floe_asio_post_receive) post_receive = nullptr;
  decltype(&floe_asio_timeouts) timeouts = nullptr;
  decltype(&floe_asio_sleeper_open) sleeper_open = nullptr;
  decltype(&floe_asio_sleeper_close) sleeper_close = nullptr;
  decltype(&floe_asio_sleeper_lateness) sleeper_lateness = nullptr;
  decltype(&floe_asio_echo_open) echo_open = nullptr;
  decltype(&floe_asio_echo_close) echo_close = nullptr;
  decltype(&floe_asio_echo_run) echo_run = nullptr;
  decltype(&floe_asio_idle) idle = nullptr;
};

// "Asio io_uring" and "Asio epoll", loaded once.
const std::vector<AsioPeer>& asio_peers();

}  // namespace floe::bench
