// The functions in which a task spins or goes to sleep for a lock: where a vCPU's instruction pointer says that it waits for one.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "walkers/symbols.hpp"

namespace floe::walkers {

// Every variant that a kernel is built with (native and paravirtual spinlocks, the compiler's clones), each by the size that its place
// among the symbols gives it.
class LockSlowpaths {
 public:
  explicit LockSlowpaths(const Symbols& symbols);

  // queued_spin_lock_slowpath, queued_rw_lock_slowpath, mutex_lock_slowpath, rwsem_down_read_slowpath, rwsem_down_write_slowpath,
  // rt_mutex_slowlock; empty for any other place.
  std::string_view match(std::uint64_t ip) const;

 private:
  struct Range {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
    std::string_view name;
  };
  std::vector<Range> ranges_;
};

}  // namespace floe::walkers
