#include "engine/engine.hpp"
namespace floe::engine {
struct options {
  int depth;
  std::string name;
};
task<int> with(options how);
task<int> bad() {
  const auto got = co_await with({.depth = 1, .name = "x"});
  co_return *got;
}
}  // namespace floe::engine
