#include "engine/doorbell.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

namespace floe::engine::detail {

std::uint64_t doorbell::drain() {
  note* taken = top_.exchange(nullptr, std::memory_order_acquire);
  note* oldest = nullptr;
  while (taken != nullptr) {
    note* const after = taken->next;
    taken->next = oldest;
    oldest = taken;
    taken = after;
  }
  std::uint64_t count = 0;
  while (oldest != nullptr) {
    note& current = *oldest;
    oldest = current.next;  // read first: a note may be posted again, or be gone, once it runs
    current.run(current);
    ++count;
  }
  return count;
}

void doorbell::ring() {
  rings_.fetch_add(1, std::memory_order_relaxed);
  static_cast<void>(eventfd_write(event_.get(), 1));
}

void doorbell::silence() {
  eventfd_t value = 0;
  static_cast<void>(eventfd_read(event_.get(), &value));
}

}  // namespace floe::engine::detail
