#include "engine/engine.hpp"
namespace floe::engine {
task<int> value();
task<int> bad() {
  const int got = 1 + **&co_await value();
  co_return got;
}
}  // namespace floe::engine
