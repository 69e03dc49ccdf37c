#include "engine/engine.hpp"
namespace floe::engine {
task<int> bad() {
  alignas(64) int wide[16] = {};
  const auto did = co_await nop();
  co_return did.has_value() ? wide[0] : 1;
}
}  // namespace floe::engine
