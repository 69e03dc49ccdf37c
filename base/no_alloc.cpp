#include "base/no_alloc.hpp"

#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/may_block.hpp"

namespace floe {
namespace {

thread_local unsigned open_scopes = 0;

#ifndef NDEBUG
// Allocates nothing, and takes no lock.
[[noreturn]] void end_program(const char* what) noexcept {
  const auto say = [](const char* text) { [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text)); };
  say("floe: bug: ");
  say(what);
  say(" while the guest was frozen\n");
  std::abort();
}
#endif

}  // namespace

#ifndef NDEBUG
void may_block(const char* what) noexcept {
  if (open_scopes != 0) end_program(what);
}
#endif

NoAllocScope::NoAllocScope() noexcept {
  ++open_scopes;
}
NoAllocScope::~NoAllocScope() noexcept {
  --open_scopes;
}
bool NoAllocScope::active() noexcept {
  return open_scopes != 0;
}

// ThreadSanitizer brings an operator new of its own.
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(NDEBUG) || defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define FLOE_CHECK_ALLOCATIONS 0
#else
#define FLOE_CHECK_ALLOCATIONS 1
#endif

bool NoAllocScope::enforced() noexcept {
  return FLOE_CHECK_ALLOCATIONS;
}

}  // namespace floe

#if FLOE_CHECK_ALLOCATIONS
namespace {

void* checked_allocate(std::size_t bytes, std::size_t alignment) noexcept {
  floe::may_block("memory was allocated");
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes ? bytes : 1);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  if (void* memory = checked_allocate(bytes, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
  return allocate_or_throw(bytes, 1);
}
void* operator new[](std::size_t bytes) {
  return allocate_or_throw(bytes, 1);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
#endif
