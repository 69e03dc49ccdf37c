// The tasks that can run now, in the order in which they should.
//
// Tasks with a deadline go first, the earliest deadline before the others; the rest is first come, first served. A steady stream of
// deadline tasks cannot starve the rest: after 15 of them in a row one of the others runs (aging).
//
// Deadlines within the next 4 ms lie in a calendar of 64 buckets of 65 us (a power of two, for the shift), found through one bitmap; inside
// a bucket the order is that of arrival. From 16 ready tasks on this costs a half to an eighth of a heap. Deadlines beyond the calendar
// wait in a heap, exact.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/context.hpp"

namespace floe::engine::detail {

class ready_fifo {
 public:
  ready_fifo() = default;
  ready_fifo(const ready_fifo&) = delete;
  ready_fifo& operator=(const ready_fifo&) = delete;

  bool empty() const { return head_ == nullptr; }
  std::size_t count_up_to(std::size_t most) const {
    std::size_t count = 0;
    for (const promise_base* task = head_; task != nullptr && count < most; task = task->next) ++count;
    return count;
  }
  void push(promise_base& task) {
    task.next = nullptr;
    *ends_[kHere] = &task;
    ends_[kHere] = &task.next;
  }
  promise_base& pop() {
    promise_base& task = *head_;
    head_ = task.next;
    if (head_ == nullptr) {  // nor is there anything to prefetch: a null address costs a walk of the page tables each time
      ends_[kHere] = &head_;
      return task;
    }
    __builtin_prefetch(head_, 1);
    __builtin_prefetch(reinterpret_cast<const std::byte*>(head_) + 64, 1);
    return task;
  }
  // Where nobody can guess whether it was the last: a load instead of the branch that compilers make of other forms.
  promise_base& pop_perhaps_last() {
    promise_base& task = *head_;
    head_ = task.next;
    ends_[kHere] = ends_[head_ == nullptr ? kEmpty : kHere];
    return task;
  }

 private:
  enum : unsigned { kEmpty, kHere };

  promise_base* head_ = nullptr;
  promise_base** ends_[2] = {&head_, &head_};  // where the next task is put: into an empty one, and now
};

class ready_set {
 public:
  static constexpr unsigned kBuckets = 64;
  static constexpr nanos kBucketNanos = 1 << 16;
  static constexpr unsigned kFairness = 16;  // one in so many resumes goes to a task without a deadline

  bool empty() const { return rest_.empty() && !has_deadlines(); }
  bool has_deadlines() const { return urgent_; }
  std::size_t size() const { return count_up_to(~std::size_t{0}); }  // walks
  bool has_more_than(std::size_t few) const { return count_up_to(few + 1) > few; }
  std::uint64_t aged() const { return aged_; }

  // `now` may lag behind; it only says where the calendar begins when nothing is in it. (A reference: it is rarely read.)
  void push(promise_base& task, const nanos& now) {
    if (task.ctx->has_deadline()) [[unlikely]]
      return push_urgent(task, task.deadline(), now);
    rest_.push(task);
  }

  promise_base& pop() {
    if (!has_deadlines()) return rest_.pop();
    if (!rest_.empty() && ++in_a_row_ >= kFairness) {
      in_a_row_ = 0;
      ++aged_;
      return rest_.pop();
    }
    promise_base& task = pop_urgent();
    urgent_ = occupied_ != 0 || !far_.empty();
    return task;
  }

  // Is something ready that should run before a task with this deadline? At the grain of the calendar.
  bool has_earlier_than(nanos deadline) const {
    if (!has_deadlines()) return false;
    if (deadline == kNever) return true;
    return first_slot() < slot_of(deadline);
  }

 private:
  struct distant {
    nanos deadline;
    std::uint64_t order;
    promise_base* task;
    bool operator<(const distant& other) const {  // std heaps keep the greatest on top
      return deadline != other.deadline ? deadline > other.deadline : order > other.order;
    }
  };

  std::size_t count_up_to(std::size_t most) const {
    std::size_t count = rest_.count_up_to(most) + far_.size();
    for (std::uint64_t left = occupied_; left != 0 && count < most; left &= left - 1)
      count += near_[static_cast<unsigned>(std::countr_zero(left))].count_up_to(most - count);
    return count;
  }

  static std::int64_t slot_of(nanos at) { return at >> std::countr_zero(std::uint64_t{kBucketNanos}); }

  std::int64_t first_slot() const {
    const std::int64_t far = far_.empty() ? kNever : slot_of(far_.front().deadline);
    return occupied_ == 0 ? far : std::min(far, first_near());
  }
  std::int64_t first_near() const { return base_ + std::countr_zero(std::rotr(occupied_, static_cast<int>(base_ & (kBuckets - 1)))); }

  // Out of line: each coroutine that waits would contain it.
  [[gnu::noinline]] void push_urgent(promise_base& task, nanos deadline, nanos now) {
    urgent_ = true;
    // The calendar begins with the bucket that was emptied last, or with today. Late ones share that bucket: they are all late, and the one
    // that came first waits longest.
    if (occupied_ == 0) base_ = slot_of(now);
    const std::int64_t slot = std::max(slot_of(deadline), base_);
    if (slot - base_ >= kBuckets) {
      far_.push_back({deadline, ++order_, &task});
      std::push_heap(far_.begin(), far_.end());
      return;
    }
    const unsigned bucket = static_cast<unsigned>(slot & (kBuckets - 1));
    near_[bucket].push(task);
    occupied_ |= std::uint64_t{1} << bucket;
  }

  promise_base& pop_urgent() {
    const std::int64_t near = occupied_ == 0 ? kNever : first_near();
    if (!far_.empty() && slot_of(far_.front().deadline) < near) {
      std::pop_heap(far_.begin(), far_.end());
      promise_base& task = *far_.back().task;
      far_.pop_back();
      return task;
    }
    base_ = near;
    const unsigned bucket = static_cast<unsigned>(near & (kBuckets - 1));
    promise_base& task = near_[bucket].pop_perhaps_last();
    occupied_ &= ~(std::uint64_t{near_[bucket].empty()} << bucket);
    return task;
  }

  ready_fifo rest_;
  std::array<ready_fifo, kBuckets> near_;
  std::uint64_t occupied_ = 0;
  std::int64_t base_ = 0;
  std::vector<distant> far_;
  std::uint64_t order_ = 0;
  bool urgent_ = false;  // is anything near or far? One byte to look at for those without deadlines
  unsigned in_a_row_ = 0;
  std::uint64_t aged_ = 0;
};

}  // namespace floe::engine::detail
