#include "bench/report/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::uint64_t> count{0};
}

#ifdef NDEBUG
void* operator new(std::size_t bytes) {
  count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif

namespace floe::bench {

std::uint64_t allocations() {
  return count.load(std::memory_order_relaxed);
}

bool allocations_are_counted() {
#ifdef NDEBUG
  return true;
#else
  return false;
#endif
}

}  // namespace floe::bench
