#include "freeze/snapshotter.hpp"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "freeze/racing_copy.hpp"

namespace floe::freeze {
namespace {

using vmm::Clock;

constexpr auto kRest = std::chrono::milliseconds(1);

std::uint64_t microseconds(Clock::duration span) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(span).count());
}

std::uint64_t now_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// What KVM keeps of the chipset. Plain data, written as it is into the snapshot ("kvm-chips").
struct ChipState {
  kvm_irqchip pic_master, pic_slave, ioapic;
  kvm_pit_state2 pit;
  kvm_clock_data clock;
};

}  // namespace

// Those that have come have captured their registers.
void look_at_gate(const vmm::Vm& vm, std::span<AtGate> gate) {
  for (unsigned i = 0; i < gate.size(); ++i) {
    const vmm::Vcpu& vcpu = vm.vcpu(i);
    gate[i] = {};
    if (vcpu.stopped_epoch() != vm.epoch()) continue;
    const vmm::VcpuState& state = vcpu.state();
    gate[i] = {true, state.regs.rip, state.regs.rsp, state.sregs.cr3};
  }
}

Snapshotter::Snapshotter(vmm::Vm& vm, SnapshotRing& ring, std::shared_ptr<PageStore> store, std::unique_ptr<DirtySource> source,
                         std::vector<SavedDevice> devices, SnapshotterOptions options)
    : vm_(vm), ring_(ring), store_(std::move(store)), source_(std::move(source)), devices_(std::move(devices)), options_(options) {}

Snapshotter::~Snapshotter() {
  if (staging_) ::munmap(staging_, options_.staging_pages * kPageBytes);
}

Result<std::unique_ptr<Snapshotter>> Snapshotter::create(vmm::Vm& vm, SnapshotRing& ring, std::shared_ptr<PageStore> store,
                                                         std::unique_ptr<DirtySource> source, std::vector<SavedDevice> devices,
                                                         SnapshotterOptions options) {
  auto made = std::unique_ptr<Snapshotter>(new Snapshotter(vm, ring, std::move(store), std::move(source), std::move(devices), options));
  const auto allocated = made->allocate();
  if (!allocated) return fail(allocated.error());
  const auto armed = made->source_->arm();
  if (!armed) return fail(Error(armed.error()).within("starting to track dirty pages"));
  made->mark_populated();
  return made;
}

Result<> Snapshotter::allocate() {
  if (!source_->live()) options_.staging_pages = vm_.ram().pages();  // the pause may have to copy everything
  void* area =
      ::mmap(nullptr, options_.staging_pages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (area == MAP_FAILED) return fail_errno(errno, "allocating the staging area of the snapshots");
  staging_ = static_cast<std::byte*>(area);
  const std::uint64_t pages = vm_.ram().pages();
  pending_.resize((pages + 63) / 64);
  cell_of_.resize(pages);
  change_of_.resize(pages);
  staged_page_.reserve(options_.staging_pages);
  for (const SavedDevice& device : devices_) device_state_.emplace_back(device.most_bytes);
  device_bytes_.resize(devices_.size());
  at_gate_.resize(vm_.cpus());
  chips_.resize(sizeof(ChipState));
  return {};
}

// The first snapshot copies all that holds anything, and nothing else: reading a hole would populate it. Written out before the guest
// is ever paused, since the list of what is populated takes memory; what is written from now on the armed source reports.
void Snapshotter::mark_populated() {
  for (const auto& range : vm_.ram().populated())
    for (std::uint64_t page = range.first; page < range.first + range.count; ++page) pending_[page / 64] |= std::uint64_t{1} << (page % 64);
}

std::uint64_t Snapshotter::to_copy(std::size_t word) const {
  return only_.empty() ? pending_[word] : pending_[word] & only_[word];
}

std::uint64_t Snapshotter::pending_pages() const {
  std::uint64_t pages = 0;
  for (std::size_t word = 0; word < pending_.size(); ++word) pages += static_cast<unsigned>(std::popcount(to_copy(word)));
  return pages;
}

void Snapshotter::stage(std::uint32_t page) {
  std::uint32_t& cell = cell_of_[page];
  if (cell == 0) {
    staged_page_.push_back(page);
    cell = static_cast<std::uint32_t>(staged_page_.size());
  }
  copy_racing(staging_ + (cell - 1) * kPageBytes, vm_.ram().page(page));
}

// Copies pending pages until none is left (true) or the staging area is full (false). Allocates nothing.
bool Snapshotter::copy_pending() {
  for (std::size_t word = 0; word < pending_.size(); ++word) {
    while (const std::uint64_t left = to_copy(word)) {
      const auto bit = static_cast<unsigned>(std::countr_zero(left));
      const auto page = static_cast<std::uint32_t>(word * 64 + bit);
      if (staged_page_.size() == options_.staging_pages && cell_of_[page] == 0) return false;
      stage(page);
      pending_[word] &= ~(std::uint64_t{1} << bit);
    }
  }
  return true;
}

// Moves the staging area into the store. On an error (the store is full) the pages not stored are pending again.
Result<> Snapshotter::store_staged() {
  Result<> result;
  for (std::size_t cell = 0; cell < staged_page_.size(); ++cell) {
    const std::uint32_t page = staged_page_[cell];
    cell_of_[page] = 0;
    if (result) {
      const auto ref = ring_.put(PageBytes(staging_ + cell * kPageBytes, kPageBytes));
      if (ref) {
        std::uint32_t& change = change_of_[page];
        if (change == 0) {
          changes_.push_back({page, *ref});
          change = static_cast<std::uint32_t>(changes_.size());
        } else {
          store_->unref(std::exchange(changes_[change - 1].ref, *ref));
        }
        continue;
      }
      result = fail(ref.error());
    }
    pending_[page / 64] |= std::uint64_t{1} << (page % 64);
  }
  staged_page_.clear();
  return result;
}

// A snapshot that the ring refused: its pages are to be copied again for the next one.
void Snapshotter::return_to_pending() {
  for (const PageChange& change : changes_) {
    pending_[change.page / 64] |= std::uint64_t{1} << (change.page % 64);
    change_of_[change.page] = 0;
    store_->unref(change.ref);
  }
  changes_.clear();
}

// What changed and was not copied: the snapshot must not show what it was before. It stays pending.
std::uint64_t Snapshotter::add_absent() {
  std::uint64_t pages = 0;
  for (std::size_t word = 0; word < pending_.size(); ++word)
    for (std::uint64_t left = pending_[word]; left != 0; left &= left - 1) {
      const auto page = static_cast<std::uint32_t>(word * 64 + static_cast<unsigned>(std::countr_zero(left)));
      std::uint32_t& change = change_of_[page];
      if (change == 0) {
        changes_.push_back({page, kAbsentPage});
        change = static_cast<std::uint32_t>(changes_.size());
      } else {  // a copy from a tick that failed
        store_->unref(std::exchange(changes_[change - 1].ref, kAbsentPage));
      }
      ++pages;
    }
  return pages;
}

Result<> Snapshotter::push(const SnapshotMeta& meta) {
  std::sort(changes_.begin(), changes_.end(), [](const PageChange& a, const PageChange& b) { return a.page < b.page; });
  const auto pushed = ring_.push(meta, machine_state(), changes_);
  for (const PageChange& change : changes_) {
    change_of_[change.page] = 0;
    if (!pushed) pending_[change.page / 64] |= std::uint64_t{1} << (change.page % 64);
  }
  changes_.clear();  // the ring took the references over, also when it refused
  return pushed;
}

engine::task<> Snapshotter::precopy(SnapshotMeta& meta, engine::worker_pool& pool) {
  const auto began = Clock::now();
  const auto store = [this] { return store_staged(); };
  // What a tick that failed has left staged: without room the next pause could not copy a single page more, and would fail for ever.
  if (!staged_page_.empty()) {
    const auto stored = co_await pool.run(store);
    if (!stored) co_return stored.failure();
  }
  std::uint64_t previous = ~std::uint64_t{0};
  // Without pre-copy the pause copies all that changed; only the first image is still taken in pieces, when the source allows it.
  const unsigned passes = source_->live() && (options_.precopy || sequence_ == 0) ? options_.precopy_passes : 0;
  const auto hurried = [this] { return hurried_ && sequence_ != 0; };
  while (meta.passes < passes && !hurried()) {
    const auto collected = source_->collect(pending_);
    if (!collected) co_return collected.error();
    const std::uint64_t pages = pending_pages();
    if (pages <= options_.residual_goal || pages >= previous - previous / 4) break;
    previous = pages;
    meta.dirty_pages += pages;
    ++meta.passes;
    // Half of the staging area stays free for what the pause finds.
    while (!copy_pending() || staged_page_.size() > options_.staging_pages / 2) {
      const auto stored = co_await pool.run(store);
      if (!stored) co_return stored.failure();
    }
  }
  if (meta.passes > 0 && !hurried()) {
    // Copying has used up this thread's turn with the host's scheduler, and the vCPUs' threads may be waiting for theirs. Who pauses the
    // guest now waits for both; a moment's sleep before costs the guest nothing. What was dirtied in it is copied once more.
    const auto rested = co_await engine::sleep_for(kRest);
    if (!rested) co_return rested.failure();
    const auto collected = source_->collect(pending_);
    if (!collected) co_return collected.error();
    meta.dirty_pages += pending_pages();
    if (!copy_pending()) meta.dirty_pages -= pending_pages();
  }
  meta.precopy_us = microseconds(Clock::now() - began);
  co_return engine::ok;
}

void Snapshotter::save_devices() {
  for (std::size_t i = 0; i < devices_.size(); ++i) device_bytes_[i] = devices_[i].save(device_state_[i]);
  auto& chips = *reinterpret_cast<ChipState*>(chips_.data());
  chips.pic_master.chip_id = KVM_IRQCHIP_PIC_MASTER;
  chips.pic_slave.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  chips.ioapic.chip_id = KVM_IRQCHIP_IOAPIC;
  for (kvm_irqchip* chip : {&chips.pic_master, &chips.pic_slave, &chips.ioapic}) ::ioctl(vm_.fd(), KVM_GET_IRQCHIP, chip);
  ::ioctl(vm_.fd(), KVM_GET_PIT2, &chips.pit);
  guest_clock_ns_ = ::ioctl(vm_.fd(), KVM_GET_CLOCK, &chips.clock) == 0 ? chips.clock.clock : 0;
}

// Everything stands still. What the vCPUs still capture meanwhile needs nothing of this thread.
Result<TakeResult> Snapshotter::copy_frozen(Frozen& frozen, Take& take) {
  auto last = frozen.stopped_at();
  const auto lap = [&last] {
    const auto before = std::exchange(last, Clock::now());
    return last - before;
  };
  const auto collected = source_->collect(pending_);
  take.parts.dirty_log = lap();
  if (!collected) return fail(collected.error());
  take.meta.residual_pages = pending_pages();
  const bool fits = copy_pending();
  take.parts.copy = lap();
  save_devices();
  take.parts.devices = lap();
  const bool captured = frozen.await_states();
  take.parts.states = lap();
  if (!captured) return TakeResult::kRendezvousTimeout;
  return fits ? TakeResult::kTaken : TakeResult::kDidNotFit;
}

// From the first kick to the thaw: one function, no suspension.
Result<TakeResult> Snapshotter::pause(Take& take) {
  SnapshotMeta& meta = take.meta;
  meta.realtime_ns = now_ns(CLOCK_REALTIME);
  meta.monotonic_ns = now_ns(CLOCK_MONOTONIC);
  Result<TakeResult> result = TakeResult::kRendezvousTimeout;
  ring_.hold_readers();
  Frozen frozen(vm_, options_.rendezvous_limit);
  if (frozen.complete()) result = copy_frozen(frozen, take);
  if (result && *result == TakeResult::kRendezvousTimeout) look_at_gate(vm_, at_gate_);
  frozen.thaw();
  ring_.let_readers();
  if (result && *result == TakeResult::kRendezvousTimeout) take.at_gate = at_gate_;
  take.gave_up = vm_.gave_up();
  take.parts.rendezvous = frozen.stopped_at() - frozen.kicked_at();
  take.parts.thaw = frozen.thawed_at() - frozen.thaw_began_at();
  meta.dirty_pages += meta.residual_pages;
  meta.kick_to_park_us = microseconds(take.parts.rendezvous);
  meta.capture_us = microseconds(frozen.thaw_began_at() - frozen.stopped_at());
  meta.thaw_us = microseconds(take.parts.thaw);
  meta.pause_us = microseconds(frozen.thawed_at() - frozen.kicked_at());
  meta.guest_clock_ns = guest_clock_ns_;
  return result;
}

MachineState Snapshotter::machine_state() const {
  MachineState state;
  for (unsigned i = 0; i < vm_.cpus(); ++i) {
    const vmm::VcpuState& vcpu = vm_.vcpu(i).state();
    const auto* bytes = reinterpret_cast<const std::byte*>(&vcpu);
    state.vcpus.push_back({i, vcpu.regs.rip, vcpu.regs.rsp, vcpu.sregs.cr3, std::vector<std::byte>(bytes, bytes + sizeof vcpu)});
  }
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const auto& buffer = device_state_[i];
    state.devices.push_back({devices_[i].name, {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(device_bytes_[i])}});
  }
  state.devices.push_back({"kvm-chips", chips_});
  return state;
}

Result<> Snapshotter::store_and_push(Take& take) {
  const auto staged = store_staged();
  if (staged && !only_.empty()) take.absent_pages = add_absent();
  take.meta.whole = take.absent_pages == 0;
  if (staged) return push(take.meta);
  return_to_pending();
  ring_.count_did_not_fit();
  return staged;
}

engine::task<Take> Snapshotter::take(std::uint64_t tick, engine::worker_pool& pool) {
  Take take;
  take.meta.sequence = sequence_ + 1;
  take.meta.tick = tick;
  // The first image has nothing to fall back to.
  const bool partial = std::exchange(refused_, false) && sequence_ != 0;
  only_ = partial ? touched_ : std::vector<std::uint64_t>{};
  if (only_.size() != pending_.size()) only_.clear();
  const auto precopied = co_await precopy(take.meta, pool);
  if (precopied.is_error() && precopied.error().code == ENOSPC) {
    return_to_pending();
    ring_.count_did_not_fit();
    take.result = TakeResult::kDidNotFit;
    take.ring_full = true;
    take.reason = precopied.error().message;
    refused_ = !partial;
    co_return std::move(take);
  }
  if (!precopied) {
    return_to_pending();  // stopped half-way: what is stored belongs to no snapshot
    co_return precopied.failure();
  }
  const auto paused = pause(take);
  hurried_ = false;
  if (!paused) co_return paused.error();
  take.result = *paused;
  if (take.result == TakeResult::kRendezvousTimeout) take.reason = "not every vCPU parked in time";
  if (take.result == TakeResult::kDidNotFit) {
    ring_.count_did_not_fit();
    refused_ = !partial;
    take.reason =
        std::to_string(take.meta.residual_pages) + " pages were dirtied during the last pre-copy pass: more than the staging area holds";
  }
  if (take.result != TakeResult::kTaken) co_return std::move(take);

  const auto store = [this, &take] { return store_and_push(take); };
  const auto stored = co_await pool.run(store);
  if (!stored && !(stored.is_error() && stored.error().code == ENOSPC)) co_return stored.failure();
  if (stored) {
    sequence_ = take.meta.sequence;
  } else {
    take.result = TakeResult::kDidNotFit;
    take.ring_full = true;
    refused_ = !partial;
    take.reason = stored.error().message;
  }
  co_return std::move(take);
}

}  // namespace floe::freeze
