// The host's end of the tiny guest's TLV stream, built as `floe run` builds it: a mailbox that is told once for any number of bytes,
// VirtioConsole::take(), and the decoder; where notifications are events, a task that serves the queue. Everything runs on one loop.
// Needs floe::engine beside floe_tiny_guest.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/engine.hpp"
#include "tests/tiny/guest.hpp"
#include "vmm/wire.hpp"

namespace floe::tiny {

class TlvReceiver {
 public:
  struct Options {
    bool by_event = false;
    std::uint64_t payload_bytes = 32;
    std::uint64_t batch = 1;  // frames for each notification
    unsigned cpus = 1;        // the others spin
    bool patient = false;     // takes something only once the guest can send nothing more: it is held back, or has sent everything
  };

  static Result<std::unique_ptr<TlvReceiver>> create(const Options& options) {
    auto made = std::unique_ptr<TlvReceiver>(new TlvReceiver(options));
    auto loop = engine::loop::create();
    if (!loop) return fail(std::move(loop.error()));
    made->loop_ = std::move(*loop);
    made->told_ = std::make_unique<engine::mailbox<int>>(*made->loop_);
    const auto wake = [raw = made.get()] { raw->wake(); };
    auto guest = Guest::create({.cpus = options.cpus, .pc = true, .console_wake = wake, .tlv_by_event = options.by_event});
    if (!guest) return fail(std::move(guest.error()));
    made->guest_ = std::move(*guest);
    made->guest_->set_parameter(0, &tiny_parameters::frame_payload, options.payload_bytes);
    made->guest_->set_parameter(0, &tiny_parameters::frame_batch, options.batch);
    made->guest_->start();
    return made;
  }

  // Lets the guest send until `frames` more have been sent in all, and receives them. Error: a frame is lost, damaged, out of order or not
  // what the guest wrote; or it takes longer than a minute.
  Result<> receive(std::uint64_t frames) {
    wanted_ += frames;
    guest_->set_parameter(0, &tiny_parameters::frame_limit, wanted_);
    if (guest_->status(0, &tiny_status::done) != 0) {  // the turn before has ended: leave its loop, so that the next one begins
      guest_->set_mode(0, TINY_SPIN);
      for (int turn = 0; turn < 2; ++turn) guest_->wait_for_progress(TINY_SPIN);  // the first may be the old loop's
    }
    guest_->set_mode(0, TINY_FRAMES);
    const auto ran = loop_->run(both()).to_result();
    if (!ran) return fail(ran.error());
    if (!guest_->wait([this] { return guest_->status(0, &tiny_status::done) != 0; }))
      return fail("the guest waits for a frame to be taken");
    count_unserved();
    return verdict();
  }

  Guest& guest() { return *guest_; }
  const vmm::wire::Decoder::Stats& stats() const { return decoder_.stats(); }
  std::uint64_t most_held() const { return most_held_; }    // bytes of memory in the receiver's buffer and the decoder
  std::uint64_t most_ahead() const { return most_ahead_; }  // frames that the guest had sent and the receiver had not got
  std::uint64_t events() const { return events_; }          // notifications that came as events, however few times they were served
  // Of the last receive(): from the first bytes to the last frame.
  std::chrono::duration<double> took() const { return ended_ - began_; }

 private:
  explicit TlvReceiver(const Options& options) : options_(options) {}

  void wake() {
    if (!announced_.exchange(true, std::memory_order_acq_rel)) told_->post(0);
  }

  engine::task<> serve() {
    std::uint64_t count = 0;
    const auto into = std::as_writable_bytes(std::span(&count, 1));
    for (;;) {
      const auto got = co_await engine::read(guest_->pc().tlv_event()->fd(), into);
      if (!got) co_return engine::ok;  // stopped
      events_ += count;
      guest_->pc().tlv_event()->serve();
    }
  }

  // Nobody reads the descriptor any more, and the guest notifies no more.
  void count_unserved() {
    if (guest_->pc().tlv_event() == nullptr) return;
    pollfd waiting{guest_->pc().tlv_event()->fd(), POLLIN, 0};
    std::uint64_t count = 0;
    if (::poll(&waiting, 1, 0) == 1 && ::read(waiting.fd, &count, sizeof count) == sizeof count) events_ += count;
  }

  // What a notification left over, at the bound of one call, is continued here: its reader is busy waiting.
  bool guest_can_send() {
    vmm::VirtioConsole& console = guest_->pc().console();
    console.service();
    const std::uint64_t held_back = console.counters().port[vmm::VirtioConsole::kTlvPort].back_pressure;
    if (held_back != held_back_) return false;
    return guest_->status(0, &tiny_status::sent) < wanted_;
  }

  engine::task<> take() {
    began_ = {};
    while (decoder_.stats().frames < wanted_ && !wrong_) {
      const auto event = co_await told_->receive();
      if (!event) co_return event.failure();
      announced_.store(false, std::memory_order_release);
      while (options_.patient && guest_can_send()) {
        const auto rested = co_await engine::sleep_for(std::chrono::milliseconds(1));
        if (!rested) co_return rested.failure();
      }
      while (guest_->pc().console().take(vmm::VirtioConsole::kTlvPort, scratch_) != 0 && !wrong_) decode();
      held_back_ = guest_->pc().console().counters().port[vmm::VirtioConsole::kTlvPort].back_pressure;
    }
    ended_ = vmm::Clock::now();
    co_return engine::ok;
  }

  engine::task<> both() {
    engine::scope serving("notifications");
    if (guest_->pc().tlv_event() != nullptr) serving.spawn(serve(), "notifications");
    auto taking = engine::with_timeout(take(), kLimit);
    const auto taken = co_await std::move(taking);
    serving.request_stop();
    const auto ended = co_await serving.join();
    if (!taken) co_return taken.failure();
    if (ended.is_error()) co_return ended.failure();
    co_return engine::ok;
  }

  void decode() {
    if (began_ == vmm::Clock::time_point()) began_ = vmm::Clock::now();
    most_ahead_ = std::max(most_ahead_, guest_->status(0, &tiny_status::sent) - decoder_.stats().frames);
    decoder_.feed(scratch_);
    most_held_ = std::max<std::uint64_t>(most_held_, decoder_.capacity() + scratch_.capacity());
    while (const auto frame = decoder_.next()) {
      std::uint64_t sequence = 0;
      if (frame->payload.size() == options_.payload_bytes) std::memcpy(&sequence, frame->payload.data(), sizeof sequence);
      wrong_ |= frame->payload.size() != options_.payload_bytes || sequence != frame->sequence;
    }
  }

  Result<> verdict() const {
    const auto& seen = decoder_.stats();
    vmm::wire::Decoder::Stats whole;
    whole.frames = wanted_;
    whole.payload_bytes = wanted_ * options_.payload_bytes;
    if (wrong_ || !(seen == whole) || decoder_.residual() != 0)
      return fail("the stream is not what the guest sent: " + std::to_string(seen.frames) + " frames of " + std::to_string(wanted_) + ", " +
                  std::to_string(seen.missing_frames) + " missing, " + std::to_string(seen.garbage_bytes) + " bytes of garbage");
    return {};
  }

  static constexpr std::chrono::seconds kLimit{60};

  const Options options_;
  std::unique_ptr<engine::loop> loop_;
  std::unique_ptr<engine::mailbox<int>> told_;
  std::atomic<bool> announced_{false};
  std::unique_ptr<Guest> guest_;  // goes first: its threads use the above
  vmm::wire::Decoder decoder_;
  std::vector<std::byte> scratch_;
  std::uint64_t wanted_ = 0, most_held_ = 0, most_ahead_ = 0, events_ = 0, held_back_ = 0;
  vmm::Clock::time_point began_, ended_;
  bool wrong_ = false;
};

}  // namespace floe::tiny
