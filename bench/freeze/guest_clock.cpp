// The same pause by two clocks: the host's, from before the first kick until the last vCPU was let go, and the guest's own, the longest
// time between two turns of a loop that reads the time-stamp counter.
#include <x86intrin.h>

#include <thread>

#include "bench/freeze/scene.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kRow = "one pause by two clocks, 1 vCPU";
constexpr unsigned kFreezes = 20;  // a round's value is their median

class GuestClock final : public Scene {
 public:
  GuestClock(std::unique_ptr<tiny::Guest> guest, double ticks_per_us) : guest_(std::move(guest)), ticks_per_us_(ticks_per_us) {}

  Result<> round() override {
    guest_->set_mode(TINY_WATCH);
    std::vector<double> host, guest;
    for (unsigned i = 0; i < kFreezes; ++i) {
      guest_->set_parameter(0, &tiny_parameters::watch, ++watch_);
      if (!guest_->wait([this] { return guest_->status(0, &tiny_status::watched) == watch_; }))
        return fail("the tiny guest does not watch");
      host.push_back(empty_freeze(guest_->vm(), true).pause);
      const std::uint64_t turns = guest_->status(0, &tiny_status::progress);
      if (!guest_->wait([&] { return guest_->status(0, &tiny_status::progress) != turns; })) return fail("the tiny guest does not run");
      guest.push_back(static_cast<double>(guest_->status(0, &tiny_status::longest_gap)) / ticks_per_us_);
    }
    if (!guest_->halt()) return fail("a vCPU of the tiny guest does not halt");
    host_.push_back(median(host));
    guest_clock_.push_back(median(guest));
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = kRow, .unit = "us", .baseline = "host", .ratio_of = Ratio::cost};
    row.contenders.push_back({.name = "host", .rounds = host_});
    row.contenders.push_back({.name = "guest", .rounds = guest_clock_});
    report.rows.push_back(std::move(row));
  }

 private:
  std::unique_ptr<tiny::Guest> guest_;
  double ticks_per_us_;
  std::uint64_t watch_ = 0;
  std::vector<double> host_, guest_clock_;
};

double calibrated_ticks() {
  const auto began = Clock::now();
  const std::uint64_t first = __rdtsc();
  std::this_thread::sleep_for(20ms);
  const std::uint64_t last = __rdtsc();
  return static_cast<double>(last - first) / microseconds(Clock::now() - began);
}

}  // namespace

Result<> add_guest_clock(const Settings& settings, Scenes& into) {
  if (!settings.wants(kRow)) return {};
  auto guest = tiny::Guest::create({});
  if (!guest) return fail(std::move(guest.error()));
  (*guest)->set_mode(TINY_HALT);
  (*guest)->start();
  into.push_back(std::make_unique<GuestClock>(std::move(*guest), calibrated_ticks()));
  return {};
}

}  // namespace floe::bench
