#include "freeze/failure_capture.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace floe::freeze {

void FailureCapture::looked(const View& view, const SchedulerWatch& watch) {
  if (done_) {
    if (!after_) after_ = view;
    return;
  }
  if (watch.last_attached() == view->meta().sequence) {
    seen_in_charge_ = true;
    before_ = view;
    if (const auto timeout = watch.watchdog_timeout(); timeout && *timeout != 0) threshold_ = half_way_to(*timeout);
    const std::uint64_t age = watch.oldest() ? watch.oldest()->age_jiffies : 0;
    peak_ = std::max(peak_, age);
    const bool long_now = threshold_ && age >= *threshold_;
    if (long_now && !waiting_long_) {
      early_ = view;
      early_age_ = age;
      early_threshold_ = *threshold_;
      early_name_ = watch.name();
    }
    waiting_long_ = long_now;
  }
  early_left_ = early_ && (!watch.attached() || watch.name() != early_name_);
  if (!watch.failure()) return;
  done_ = true;
  late_ = view;
  if (!watch.failure()->before) before_.reset();  // it is another scheduler's
}

void FailureCapture::degraded(Cause cause, const std::shared_ptr<const Captured>& capture) {
  if (cause == Cause::kLate && !late() && !late_degraded_ && capture->words.failed()) late_degraded_ = capture;
  if (cause == Cause::kEarly) early_degraded_ = capture;
}

FailureCapture::State FailureCapture::state() const {
  if (done_ || latched_ || late_degraded_) return State::kDone;
  return early_ || early_degraded_ ? State::kTookEarly : State::kIdle;
}

std::optional<std::string> FailureCapture::early_skipped_reason() const {
  if (early_) return std::nullopt;
  if (early_degraded_) return early_degraded_->reason;
  if (!seen_in_charge_) return "no snapshot before the end shows the scheduler in charge";
  if (!threshold_) return "the scheduler's watchdog timeout could not be read";
  if (peak_ == 0) return "no task was seen waiting before the end: all ages are 0";
  return fmt::format("the longest wait seen before the end was {} jiffies, below the threshold of {}", peak_, *threshold_);
}

}  // namespace floe::freeze
