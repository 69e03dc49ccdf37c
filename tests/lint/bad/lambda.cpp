#include "engine/engine.hpp"
namespace floe::engine {
task<int> call(int (*what)());
task<int> bad() {
  const auto got = co_await call([] { return 1; });
  co_return *got;
}
}  // namespace floe::engine
