#include "walkers/address_set.hpp"

#include <unistd.h>

#include <chrono>

namespace floe::walkers {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (::getentropy(&seed, sizeof seed) != 0) seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return seed;
}

}  // namespace floe::walkers
