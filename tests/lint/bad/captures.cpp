#include "engine/engine.hpp"
namespace floe::engine {
inline auto bad(int value) {
  return [value]() -> task<int> { co_return value; };
}
}  // namespace floe::engine
