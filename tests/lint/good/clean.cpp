// Everything here is allowed, and looks a little like what is not: "if (co_await x)" in a comment or a string, alignas outside of a
// coroutine, captures in a lambda that is none, a coroutine lambda without captures.
#include "engine/engine.hpp"

namespace floe::engine {

struct alignas(64) wide {
  int values[16];
};

task<int> value(int number) { co_return number; }

task<int> good(wide& outside) {
  const char* const text = "while (co_await value(1)) {}";
  int sum = text[0];
  for (int round = 0; round < 3; ++round) {
    const auto got = co_await value(round);
    if (!got) co_return got.failure();
    sum += *got;
  }
  const auto twice = [&sum](int by) { return sum * by; };
  const auto child = [](int number) -> task<int> { co_return number; };
  auto later = child(1);
  const auto last = co_await std::move(later);
  co_await yield();
  outside.values[0] = twice(*last);
  co_return sum;
}

}  // namespace floe::engine
