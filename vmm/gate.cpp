#include "vmm/gate.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace floe::vmm {
namespace {

using std::chrono::nanoseconds;

long futex(const std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) {
  return ::syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

// The one who changes the word looks for sleepers after it, the one who sleeps counts itself before it looks at the word: sequentially
// consistent on both sides, so that one of the two sees the other.
void wake_sleepers(const std::atomic<std::uint32_t>& word, const std::atomic<std::uint32_t>& sleepers) {
  if (sleepers.load(std::memory_order_seq_cst) != 0) futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

class Sleeper {
 public:
  explicit Sleeper(std::atomic<std::uint32_t>& count) : count_(count) { count_.fetch_add(1, std::memory_order_seq_cst); }
  ~Sleeper() { count_.fetch_sub(1, std::memory_order_relaxed); }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

 private:
  std::atomic<std::uint32_t>& count_;
};

}  // namespace

void Line::open(std::uint32_t epoch, unsigned vcpus) {
  state_.store(std::uint64_t{epoch} << 32 | vcpus, std::memory_order_release);
}

void Line::cross(std::uint32_t epoch) {
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  do {
    if (state >> 32 != epoch) return;
  } while (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel));
  if (static_cast<std::uint32_t>(state) == 1) end(epoch);
}

// Never backwards: the last vCPU of an epoch that was given up meanwhile may get here late.
void Line::end(std::uint32_t epoch) {
  std::uint32_t over = over_.load(std::memory_order_relaxed);
  do {
    if (reached(over, epoch)) return;
  } while (!over_.compare_exchange_weak(over, epoch, std::memory_order_seq_cst));
  wake_sleepers(over_, sleepers_);
}

bool Line::wait(std::uint32_t epoch, Clock::time_point deadline) const {
  if (over(epoch)) return true;
  const Sleeper sleeper(sleepers_);
  for (;;) {
    const std::uint32_t seen = over_.load(std::memory_order_seq_cst);
    if (reached(seen, epoch)) return true;
    const auto left = deadline - Clock::now();
    if (left <= nanoseconds::zero()) return false;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{seconds.count(), (left - seconds).count()};
    futex(over_, FUTEX_WAIT, seen, &timeout);
  }
}

std::uint32_t Gate::close(unsigned vcpus) {
  const std::uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  stopped_.open(epoch, vcpus);
  parked_.open(epoch, vcpus);
  epoch_.store(epoch, std::memory_order_seq_cst);
  return epoch;
}

std::uint32_t Gate::open() {
  const std::uint32_t frozen = epoch_.fetch_add(1, std::memory_order_seq_cst);
  wake_sleepers(epoch_, sleepers_);
  give_up(frozen);
  return frozen + 1;
}

void Gate::stop() {
  stopping_.store(true, std::memory_order_release);
  const std::uint32_t last =
      epoch_.fetch_add(2, std::memory_order_seq_cst);  // keeps its parity, but no longer equals what anybody waits on
  wake_sleepers(epoch_, sleepers_);
  give_up(last);
}

void Gate::give_up(std::uint32_t epoch) {
  stopped_.end(epoch);
  parked_.end(epoch);
}

void Gate::wait_while(std::uint32_t seen) const {
  const Sleeper sleeper(sleepers_);
  while (epoch_.load(std::memory_order_seq_cst) == seen && !stopping()) futex(epoch_, FUTEX_WAIT, seen, nullptr);
}

}  // namespace floe::vmm
