#include "freeze/watch_beat.hpp"

namespace floe::freeze {
namespace {

engine::task<int> receive(engine::mailbox<int>& told) {
  auto got = co_await told.receive();
  co_return std::move(got);
}

}  // namespace

WatchBeat::WatchBeat(std::chrono::nanoseconds period, vmm::DebugRegisters* hardware) : period_(period), hardware_(hardware) {
  if (hardware_ != nullptr) hardware_->set_on_hit([this] { told_.post(0); });
}

WatchBeat::~WatchBeat() {
  if (hardware_ != nullptr) hardware_->set_on_hit({});
}

engine::task<> WatchBeat::next() {
  if (hardware_ == nullptr) {
    auto slept = co_await engine::sleep_for(period_);
    co_return std::move(slept);
  }
  auto waiting = receive(told_);
  const auto told = co_await engine::with_timeout(std::move(waiting), period_);
  if (told.is_cancelled()) co_return told.failure();
  co_return engine::ok;  // told, or it was time
}

}  // namespace floe::freeze
