#include "engine/engine.hpp"
namespace floe::engine {
task<int> value();
task<int> bad() {
  const int sum = *co_await value() + *co_await value();
  co_return sum;
}
}  // namespace floe::engine
