#include "bench/freeze/scene.hpp"

#include <algorithm>
#include <thread>

#include "freeze/frozen.hpp"

namespace floe::bench {

using namespace std::chrono_literals;

double median(std::vector<double> values) {
  return values.empty() ? 0 : spread(std::move(values)).median;
}

double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

EmptyFreeze empty_freeze(vmm::Vm& vm, bool capture) {
  vm.set_capture(capture);
  freeze::Frozen frozen(vm, kFreezeLimit);
  frozen.await_states();
  frozen.thaw();
  vm.set_capture(true);
  return {microseconds(frozen.thawed_at() - frozen.kicked_at()), microseconds(frozen.stopped_at() - frozen.kicked_at())};
}

double guest_gap(vmm::Vm& vm) {
  Clock::time_point first = Clock::time_point::max(), last{};
  for (unsigned cpu = 0; cpu < vm.cpus(); ++cpu) {
    const vmm::Vcpu& vcpu = vm.vcpu(cpu);
    tiny::Guest::wait([&vcpu] { return vcpu.resumed_at() > vcpu.stopped_at(); });
    first = std::min(first, vcpu.stopped_at());
    last = std::max(last, vcpu.resumed_at());
  }
  return microseconds(last - first);
}

void Series::add(const std::string& name, double value) {
  const auto at = std::find_if(all_.begin(), all_.end(), [&name](const auto& one) { return one.first == name; });
  if (at != all_.end())
    at->second.push_back(value);
  else
    all_.push_back({name, {value}});
}

const std::vector<double>& Series::of(const std::string& name) const {
  static const std::vector<double> none;
  const auto at = std::find_if(all_.begin(), all_.end(), [&name](const auto& one) { return one.first == name; });
  return at != all_.end() ? at->second : none;
}

Figures Series::medians() const {
  Figures figures;
  for (const auto& [name, values] : all_) figures.emplace_back(name, median(values));
  return figures;
}

Result<std::unique_ptr<Writer>> Writer::create(unsigned cpus, std::uint64_t memory_bytes) {
  auto made = std::unique_ptr<Writer>(new Writer);
  auto guest = tiny::Guest::create({.cpus = cpus, .memory_bytes = memory_bytes});
  if (!guest) return fail(std::move(guest.error()));
  made->guest_ = std::move(*guest);
  made->guest_->set_mode(TINY_HALT);
  return made;
}

// How fast the guest's loop turns when nobody disturbs it.
void Writer::calibrate() {
  guest_->start();
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

void Writer::write(std::uint64_t pages, std::chrono::milliseconds interval) {
  if (turns_per_second_ == 0) calibrate();
  const double turns = turns_per_second_ * std::chrono::duration<double>(interval).count();
  guest_->set_dirtying(0, Gpa(TINY_FREE), pages, pages == 0 ? 0 : static_cast<std::uint64_t>(turns / static_cast<double>(pages)) + 1);
  guest_->set_mode(0, TINY_COUNT);
}

Result<> Writer::wait(std::uint64_t pages) {
  const std::uint64_t before = guest_->status(0, &tiny_status::dirtied);
  if (guest_->wait([&] { return guest_->status(0, &tiny_status::dirtied) >= before + pages; })) return {};
  return fail("the tiny guest did not write " + std::to_string(pages) + " pages in 20 s");
}

}  // namespace floe::bench
