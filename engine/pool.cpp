#include "engine/pool.hpp"

#include <algorithm>

#include "base/may_block.hpp"
#include "engine/loop.hpp"

namespace floe::engine {

bool detail::pool_job::start(promise_base& task) {
  loop& owner = task.ctx->owner();
  owner.note_suspension();
  stopped_ = task.ctx->stop_requested();
  if (stopped_) return false;
  waiter_ = &task;
  bell_ = owner.doorbell();
  owner.external_work(+1);
  task.waits_for.set(static_cast<stop_hook&>(*this));
  pool_.enqueue(*this);
  return true;
}

void detail::pool_job::on_finished(note& what) {
  auto& self = static_cast<pool_job&>(what);
  loop& owner = self.waiter_->ctx->owner();
  owner.external_work(-1);
  owner.make_ready(*std::exchange(self.waiter_, nullptr));
}

void detail::pool_job::on_stop(stop_hook& hook) {
  auto& self = static_cast<pool_job&>(hook);
  if (!self.pool_.take_out(self)) return;  // it has begun: its end resumes the task
  self.stopped_ = true;
  on_finished(self);
}

worker_pool::worker_pool(unsigned threads) {
  workers_.reserve(std::max(threads, 1U));
  for (unsigned index = 0; index < std::max(threads, 1U); ++index) workers_.emplace_back([this] { work(); });
}

worker_pool::~worker_pool() {
  {
    const std::lock_guard lock(mutex_);
    if (first_ != nullptr) detail::broken("a worker pool was destroyed with work in its queue");
    closing_ = true;
  }
  more_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void worker_pool::enqueue(detail::pool_job& job) {
  may_block("work was handed to a pool");
  {
    const std::lock_guard lock(mutex_);
    job.after_ = nullptr;
    (first_ == nullptr ? first_ : last_->after_) = &job;
    last_ = &job;
    ++queued_;
  }
  more_.notify_one();
}

bool worker_pool::take_out(detail::pool_job& job) {
  const std::lock_guard lock(mutex_);
  detail::pool_job* before = nullptr;
  for (detail::pool_job* at = first_; at != nullptr; before = at, at = at->after_) {
    if (at != &job) continue;
    (before == nullptr ? first_ : before->after_) = job.after_;
    if (last_ == &job) last_ = before;
    --queued_;
    return true;
  }
  return false;
}

void worker_pool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return closing_ || first_ != nullptr; });
    if (first_ == nullptr) return;
    detail::pool_job& job = *first_;
    first_ = job.after_;
    --queued_;
    lock.unlock();
    job.compute();
    // The job is the awaiting task's: once posted it may be gone, so its doorbell is held here.
    const auto bell = job.bell_;
    lock.lock();
    ++finished_;
    lock.unlock();
    bell->post(job);
    lock.lock();
  }
}

std::size_t worker_pool::queued() const {
  const std::lock_guard lock(mutex_);
  return queued_;
}

std::uint64_t worker_pool::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

}  // namespace floe::engine
