#include "bench/freeze/scenes.hpp"

#include <fmt/format.h>

#include <thread>

#include "freeze/frozen.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;
using vmm::Clock;

constexpr unsigned kFreezesPerRound = 10;
constexpr auto kLimit = 5s;        // of a freeze
constexpr auto kInterval = 100ms;  // in which the pages are dirtied

double microseconds(Clock::duration span) {
  return std::chrono::duration<double, std::micro>(span).count();
}

Sample empty_freeze(vmm::Vm& vm) {
  Sample sample;
  const std::uint64_t before = allocations();
  freeze::Frozen frozen(vm, kLimit);
  frozen.await_states();
  frozen.thaw();
  sample.allocations = static_cast<double>(allocations() - before);
  sample.pause = microseconds(frozen.thawed_at() - frozen.kicked_at());
  sample.park = microseconds(frozen.stopped_at() - frozen.kicked_at());
  sample.thaw = microseconds(frozen.thawed_at() - frozen.thaw_began_at());
  return sample;
}

}  // namespace

Result<Rendezvous> Rendezvous::create(unsigned cpus) {
  Rendezvous made;
  auto guest = tiny::Guest::create({.cpus = cpus});
  if (!guest) return fail(std::move(guest.error()));
  made.guest_ = std::move(*guest);
  made.guest_->set_mode(TINY_HALT);
  made.guest_->start();
  made.spinning_.name = fmt::format("empty freeze, {} vCPU{}, spinning", cpus, cpus == 1 ? "" : "s");
  made.halted_.name = fmt::format("empty freeze, {} vCPU{}, halted", cpus, cpus == 1 ? "" : "s");
  return made;
}

void Rendezvous::round(bool halted) {
  Row& row = halted ? halted_ : spinning_;
  if (!halted) {
    guest_->set_mode(TINY_COUNT);
    guest_->wait_for_progress(TINY_COUNT);
  }
  for (unsigned i = 0; i < kFreezesPerRound; ++i) {
    std::this_thread::sleep_for(1ms);  // the guest runs
    Sample sample = empty_freeze(guest_->vm());
    sample.baseline = sample.pause;
    row.samples.push_back(sample);
  }
  guest_->halt();
}

Result<std::unique_ptr<Pause>> Pause::create(bool precopy) {
  auto made = std::unique_ptr<Pause>(new Pause);
  auto guest = tiny::Guest::create({.cpus = 2, .memory_bytes = 96u << 20});
  if (!guest) return fail(std::move(guest.error()));
  made->guest_ = std::move(*guest);
  tiny::RecorderOptions options;
  options.how.precopy = precopy;
  options.how.staging_pages = 16384;
  options.how.rendezvous_limit = kLimit;
  options.depth = 2;
  auto recorder = tiny::Recorder::create(*made->guest_, options);
  if (!recorder) return fail(std::move(recorder.error()));
  made->recorder_ = std::move(*recorder);
  for (const std::uint64_t pages : kDirtyPages)
    made->rows_.push_back({.name = fmt::format("snapshot, {} pages dirtied{}", pages, precopy ? "" : ", no pre-copy"), .samples = {}});
  made->guest_->set_mode(TINY_HALT);
  made->guest_->start();
  made->calibrate();
  return made;
}

// How fast the guest's loop turns when nobody disturbs it.
void Pause::calibrate() {
  guest_->set_dirtying(0, Gpa(TINY_FREE), 0, 0);
  guest_->set_mode(0, TINY_COUNT);
  guest_->wait([this] { return guest_->counter(0) > 0; });
  const auto began = Clock::now();
  const std::uint64_t first = guest_->counter(0);
  std::this_thread::sleep_for(50ms);
  const std::uint64_t last = guest_->counter(0);
  turns_per_second_ = static_cast<double>(last - first) / std::chrono::duration<double>(Clock::now() - began).count();
  guest_->halt();
}

// Until that many pages have been dirtied, evenly; none: for some time.
void Pause::dirty(std::uint64_t pages) {
  const std::uint64_t before = guest_->status(0, &tiny_status::dirtied);
  if (pages == 0)
    std::this_thread::sleep_for(10ms);
  else
    guest_->wait([&] { return guest_->status(0, &tiny_status::dirtied) >= before + pages; });
}

Result<> Pause::measure(std::uint64_t pages, Row& row) {
  const double turns = turns_per_second_ * std::chrono::duration<double>(kInterval).count();
  guest_->set_dirtying(0, Gpa(TINY_FREE), pages, pages == 0 ? 0 : static_cast<std::uint64_t>(turns / static_cast<double>(pages)) + 1);
  guest_->set_mode(0, TINY_COUNT);
  // One for what the scene before has left.
  const auto cleared = recorder_->take();
  if (!cleared) return fail(cleared.error());
  dirty(pages);
  const Sample baseline = empty_freeze(guest_->vm());
  const std::uint64_t before = allocations();
  const auto taken = recorder_->take();
  if (!taken) return fail(taken.error());
  if (taken->result != freeze::TakeResult::kTaken) return fail("a snapshot was not taken: " + taken->reason);
  Sample sample;
  sample.allocations = static_cast<double>(allocations() - before);
  sample.pause = static_cast<double>(taken->meta.pause_us);
  sample.park = static_cast<double>(taken->meta.kick_to_park_us);
  sample.capture = static_cast<double>(taken->meta.capture_us);
  sample.thaw = static_cast<double>(taken->meta.thaw_us);
  sample.baseline = baseline.pause;
  sample.dirty = static_cast<double>(taken->meta.dirty_pages);
  sample.residual = static_cast<double>(taken->meta.residual_pages);
  row.samples.push_back(sample);
  return {};
}

Result<> Pause::round() {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const auto measured = measure(kDirtyPages[i], rows_[i]);
    if (!measured) return measured;
  }
  guest_->halt();
  return {};
}

}  // namespace floe::bench
