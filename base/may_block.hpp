// A promise that can be checked, like that of no_alloc.hpp: while a thread holds a guest frozen it waits for nobody.
//
// What may wait for another thread, a device or a disk says so first; a debug build ends the program, with the reason, when the thread has
// a NoAllocScope open. Release builds compile it to nothing.
#pragma once

namespace floe {

#ifdef NDEBUG
inline void may_block(const char*) noexcept {}
#else
// `what` completes "floe: bug: ... while the guest was frozen".
void may_block(const char* what) noexcept;
#endif

// A std::mutex or std::shared_mutex whose locking is checked.
template <class Mutex>
class Checked : public Mutex {
 public:
  void lock() {
    may_block("a lock was taken");
    Mutex::lock();
  }
  void lock_shared()
    requires requires(Mutex& mutex) { mutex.lock_shared(); }
  {
    may_block("a lock was taken");
    Mutex::lock_shared();
  }
};

}  // namespace floe
