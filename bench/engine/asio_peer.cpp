#include "bench/engine/asio_peer.hpp"

#include <dlfcn.h>

namespace floe::bench {
namespace {

template <class Function>
void find(void* library, AsioPeer& peer, const char* name, Function*& into) {
  if (library == nullptr) return;
  into = reinterpret_cast<Function*>(dlsym(library, name));
  if (into == nullptr) peer.absent = std::string("the peer lacks ") + name;
}

AsioPeer load(std::string name, [[maybe_unused]] const char* file) {
  AsioPeer peer{std::move(name)};
#ifdef FLOE_BENCH_ASIO
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) peer.absent = dlerror();
  find(library, peer, "floe_asio_post_open", peer.post_open);
  find(library, peer, "floe_asio_post_close", peer.post_close);
  find(library, peer, "floe_asio_post", peer.post);
  find(library, peer, "floe_asio_post_receive", peer.post_receive);
  find(library, peer, "floe_asio_timeouts", peer.timeouts);
  find(library, peer, "floe_asio_sleeper_open", peer.sleeper_open);
  find(library, peer, "floe_asio_sleeper_close", peer.sleeper_close);
  find(library, peer, "floe_asio_sleeper_lateness", peer.sleeper_lateness);
  find(library, peer, "floe_asio_echo_open", peer.echo_open);
  find(library, peer, "floe_asio_echo_close", peer.echo_close);
  find(library, peer, "floe_asio_echo_run", peer.echo_run);
  find(library, peer, "floe_asio_idle", peer.idle);
#else
  peer.absent = "built without the headers of Boost.Asio";
#endif
  return peer;
}

}  // namespace

const std::vector<AsioPeer>& asio_peers() {
#ifndef FLOE_BENCH_ASIO
#define FLOE_BENCH_ASIO_URING ""
#define FLOE_BENCH_ASIO_EPOLL ""
#endif
  static const std::vector<AsioPeer> peers = {load("Asio io_uring", FLOE_BENCH_ASIO_URING), load("Asio epoll", FLOE_BENCH_ASIO_EPOLL)};
  return peers;
}

}  // namespace floe::bench
