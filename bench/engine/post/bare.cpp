#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/engine/post/post.hpp"

namespace floe::bench {

BareTarget::BareTarget(std::uint64_t most) : items_(most), event_(eventfd(0, EFD_CLOEXEC)) {}

BareTarget::~BareTarget() {
  close(event_);
}

void BareTarget::post(std::uint64_t value) {
  Item& item = items_[used_++];
  item.value = value;
  item.next = top_.load(std::memory_order_relaxed);
  while (!top_.compare_exchange_weak(item.next, &item, std::memory_order_seq_cst, std::memory_order_relaxed)) {
  }
  if (parked_.load(std::memory_order_seq_cst) && parked_.exchange(false, std::memory_order_seq_cst)) eventfd_write(event_, 1);
}

void BareTarget::receive(Inbox& into, bool awake) {
  while (!into.done()) {
    // It too has other work in between: a receiver that does nothing but look would take the line away from the sender all the time.
    for (unsigned work = 0; awake && work < 32; ++work) __builtin_ia32_pause();
    if (top_.load(std::memory_order_relaxed) == nullptr) {
      if (awake) continue;
      parked_.store(true, std::memory_order_seq_cst);
      eventfd_t value = 0;
      if (top_.load(std::memory_order_seq_cst) == nullptr) eventfd_read(event_, &value);
      parked_.store(false, std::memory_order_relaxed);
    }
    Item* oldest = nullptr;
    for (Item* taken = top_.exchange(nullptr, std::memory_order_acquire); taken != nullptr;) {
      Item* const after = taken->next;
      taken->next = oldest;
      oldest = taken;
      taken = after;
    }
    for (; oldest != nullptr; oldest = oldest->next) into.take(oldest->value);
  }
  used_ = 0;
}

EventfdTarget::EventfdTarget() : event_(eventfd(0, EFD_CLOEXEC)) {}

EventfdTarget::~EventfdTarget() {
  close(event_);
}

void EventfdTarget::post(std::uint64_t value) {
  eventfd_write(event_, value);
}

void EventfdTarget::receive(Inbox& into, bool awake) {
  fcntl(event_, F_SETFL, awake ? O_NONBLOCK : 0);
  while (!into.done()) {
    eventfd_t value = 0;
    if (eventfd_read(event_, &value) == 0) into.take(value);
  }
}

}  // namespace floe::bench
