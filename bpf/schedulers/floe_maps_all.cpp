// floe_maps_all: one map of every type that the running kernel accepts, filled from a seed, and held open.
//
//   floe_maps_all [--seed N] [--hold SECONDS]      without a time: until stdin closes, or SIGTERM
//
// Prints a JSON line for each map, then "floe_maps_all: holding N maps":
//
//   {"type":1,"type_name":"hash","name":"all_hash","id":3,"key_size":8,"value_size":64,"max_entries":64,
//    "entries":[{"key_hex":"...","value_hex":"..."},...]}
//
// with "per_cpu":["...",...] in place of value_hex in the per-CPU types, "note" where what went in is not what a lookup gives, and
// "refused" with the kernel's reason where there is no map. A type that this program does not know is listed as refused, too.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "bpf/schedulers/maps_all.hpp"

namespace {

volatile std::sig_atomic_t stopped = 0;

void hold(double seconds) {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  if (seconds > 0) {
    const timespec time = {static_cast<time_t>(seconds),
                           static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
    ::nanosleep(&time, nullptr);
    return;
  }
  char ignored[64];
  while (stopped == 0 && ::read(0, ignored, sizeof ignored) > 0) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 1;
  double seconds = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (i + 1 == argc || (flag != "--seed" && flag != "--hold")) {
      std::fprintf(stderr, "usage: floe_maps_all [--seed N] [--hold SECONDS]\n");
      return 2;
    }
    const char* value = argv[++i];
    flag == "--seed" ? void(seed = std::strtoull(value, nullptr, 0)) : void(seconds = std::strtod(value, nullptr));
  }
  ::libbpf_set_print(nullptr);
  floe::schedulers::MapsAll maps(seed);
  maps.make_all();
  std::printf("floe_maps_all: holding %zu maps\n", maps.count());
  std::fflush(stdout);
  hold(seconds);
  return 0;
}
