// A promise that can be checked: nothing allocates while this scope is open on this thread.
//
// Debug builds replace the global operator new and end the program, with a message, when it is called inside such a scope. Release
// builds compile the scope to two increments of a thread-local counter.
#pragma once

namespace floe {

class NoAllocScope {
 public:
  NoAllocScope() noexcept;
  ~NoAllocScope() noexcept;
  NoAllocScope(const NoAllocScope&) = delete;
  NoAllocScope& operator=(const NoAllocScope&) = delete;

  static bool active() noexcept;
  // Whether this build checks.
  static bool enforced() noexcept;
};

}  // namespace floe
