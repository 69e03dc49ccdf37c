#include "engine/engine.hpp"
namespace floe::engine {
task<int> value();
task<int> bad() {
  if (const auto got = co_await value(); got) co_return 1;
  while ((co_await value()).has_value()) {
  }
  co_return 0;
}
}  // namespace floe::engine
