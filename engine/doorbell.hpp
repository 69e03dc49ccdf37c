// How other threads reach a loop: a stack of notes that anybody may push to, and an eventfd that is written only when the loop
// sleeps. A post to a loop that is awake costs some 20-40 ns and no system call; a write per post would cost ten times that, and
// waking an idle CPU costs the sender 8-11 us, so it is done once per sleep.
//
// A doorbell outlives its loop as long as somebody holds it: ringing it then does nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/fd.hpp"

namespace floe::engine::detail {

// A note is owned by whoever posts it and may be posted again once it has run.
struct note {
  using action = void (*)(note&);
  explicit note(action what) : run(what) {}
  note(const note&) = delete;
  note& operator=(const note&) = delete;

  action run;  // on the loop's thread
  note* next = nullptr;
};

class doorbell {
 public:
  explicit doorbell(UniqueFd event) : event_(std::move(event)) {}

  // Any thread; never blocks. The note must live until it has run.
  void post(note& what) {
    note* top = top_.load(std::memory_order_relaxed);
    do {
      what.next = top;
    } while (!top_.compare_exchange_weak(top, &what, std::memory_order_seq_cst, std::memory_order_relaxed));
    wake();
  }
  // Any thread: ends the loop's sleep, if it sleeps. The exchange lets one of many senders pay for the system call.
  void wake() {
    if (parked_.load(std::memory_order_seq_cst) && parked_.exchange(false, std::memory_order_seq_cst)) ring();
  }

  // The rest is for the loop's thread.
  bool empty() const { return top_.load(std::memory_order_seq_cst) == nullptr; }
  // Runs every note posted so far, oldest first; returns how many.
  std::uint64_t drain();
  // Announces the sleep. False: a note came in between, do not sleep. Sequentially consistent on both sides, or a wake gets lost.
  bool try_park() {
    parked_.store(true, std::memory_order_seq_cst);
    if (empty()) return true;
    unpark();
    return false;
  }
  // The loop is gone: posts stay where they are, rings do nothing.
  void close() { closed_.store(true, std::memory_order_seq_cst); }
  bool closed() const { return closed_.load(std::memory_order_seq_cst); }
  void unpark() { parked_.store(false, std::memory_order_relaxed); }
  void silence();  // reads the eventfd empty
  int fd() const { return event_.get(); }
  std::uint64_t rings() const { return rings_.load(std::memory_order_relaxed); }

 private:
  void ring();

  std::atomic<note*> top_{nullptr};
  std::atomic<bool> parked_{false};
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> rings_{0};
  UniqueFd event_;
};

}  // namespace floe::engine::detail
