// Takes snapshots of a running guest: whole images, with a pause that does not grow with what changed.
//
// One snapshot. (1) Pre-copy, guest running: pages dirtied since the last snapshot are copied into a staging area, again and
// again while the set of pages dirtied meanwhile shrinks. (2) Freeze: every vCPU parks and captures its own state. (3) In the pause: the
// few pages dirtied since the last pass are copied, and the devices' state; nothing is hashed, allocated or written. (4) Thaw. (5) On a
// worker: the staged pages go into the content-addressed store and the ring.
//
// A guest may dirty more than the ring or the staging area takes. The tick after one that did not fit is tried with the pages alone that
// readers touch (set_touched()): of the others that changed, the snapshot says that they are unknown, and they are copied with the next
// whole one, which the tick after that tries again. Half of such a guest's history is then partial, and none of it wrong.
//
// Nothing is lost when a snapshot fails (a vCPU did not park, the residual did not fit the staging area, the ring refused it): its
// pages stay staged or are marked dirty again, and the next snapshot is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "freeze/dirty_source.hpp"
#include "freeze/frozen.hpp"
#include "freeze/snapshot_ring.hpp"
#include "vmm/vm.hpp"

namespace floe::freeze {

// A device whose registers belong into a snapshot. `save` runs in the pause: it neither allocates nor locks, and returns the
// bytes it wrote.
struct SavedDevice {
  std::string name;
  std::size_t most_bytes = 0;
  std::function<std::size_t(std::span<std::byte>)> save;
};

struct SnapshotterOptions {
  std::chrono::nanoseconds rendezvous_limit = std::chrono::seconds(2);
  unsigned precopy_passes = 8;         // at most; each but the first must find a quarter less than the one before
  std::uint64_t residual_goal = 32;    // pages: no more than this are left to the pause, if they become that few
  std::uint64_t staging_pages = 8192;  // 32 MiB, pre-faulted
  bool precopy = true;                 // false: everything is copied in the pause, for comparison
};

enum class TakeResult { kTaken, kRendezvousTimeout, kDidNotFit };

// What a vCPU showed when a rendezvous failed.
struct AtGate {
  bool parked = false;  // else it never came, and the rest is zero
  std::uint64_t rip = 0, rsp = 0, cr3 = 0;
};

// By vCPU, when not all have come: of those that have, which stand still. In the pause.
void look_at_gate(const vmm::Vm& vm, std::span<AtGate> gate);

// Where a pause went; the parts follow each other. In the meta, `capture_us` is everything between rendezvous and thaw.
struct PauseParts {
  using Duration = vmm::Clock::duration;
  Duration rendezvous{};  // first kick to the last vCPU stopped, its registers captured
  Duration dirty_log{};   // asking which pages are left
  Duration copy{};        // copying them
  Duration devices{};     // devices and chipset
  Duration states{};      // waiting for what the vCPUs had still to capture
  Duration thaw{};
};

struct Take {
  TakeResult result = TakeResult::kTaken;
  SnapshotMeta meta;               // of what was taken; timings also of what was not
  PauseParts parts;                // likewise
  std::string reason;              // when not taken
  bool ring_full = false;          // kDidNotFit because of the ring's bytes (or else because of the staging area)
  std::uint64_t absent_pages = 0;  // that changed and were left out; the meta is not whole then
  std::vector<AtGate> at_gate;     // by vCPU, of a kRendezvousTimeout
  bool gave_up = false;            // kRendezvousTimeout before the limit: Vm::set_give_up()
};

class Snapshotter {
 public:
  // Chooses and arms the dirty source. `vm` outlives the snapshotter; the ring, on `store`, has as many pages as the VM's RAM.
  static Result<std::unique_ptr<Snapshotter>> create(vmm::Vm& vm, SnapshotRing& ring, std::shared_ptr<PageStore> store,
                                                     std::unique_ptr<DirtySource> source, std::vector<SavedDevice> devices,
                                                     SnapshotterOptions options = {});
  ~Snapshotter();

  // One snapshot, as tick number `tick`. An error is one of the host (a failing ioctl), not of a tick.
  engine::task<Take> take(std::uint64_t tick, engine::worker_pool& pool);

  // The snapshot being taken, or else the next, is wanted now: it freezes the guest without further pre-copy, so that the pause copies what
  // is left and is as long as that takes. One that does not fit is not taken; the first image always has its pre-copy.
  void hurry() { hurried_ = true; }

  // The pages that matter when not all fit, one bit each by page index. Without any, a tick that does not fit is lost.
  void set_touched(std::vector<std::uint64_t> pages) { touched_ = std::move(pages); }

  const DirtySource& dirty_source() const { return *source_; }

 private:
  Snapshotter(vmm::Vm& vm, SnapshotRing& ring, std::shared_ptr<PageStore> store, std::unique_ptr<DirtySource> source,
              std::vector<SavedDevice> devices, SnapshotterOptions options);
  Result<> allocate();
  void mark_populated();
  std::uint64_t to_copy(std::size_t word) const;
  std::uint64_t pending_pages() const;
  std::uint64_t add_absent();
  bool copy_pending();
  void stage(std::uint32_t page);
  Result<> store_staged();
  Result<> push(const SnapshotMeta& meta);
  Result<> store_and_push(Take& take);
  void return_to_pending();
  engine::task<> precopy(SnapshotMeta& meta, engine::worker_pool& pool);
  Result<TakeResult> pause(Take& take);
  Result<TakeResult> copy_frozen(Frozen& frozen, Take& take);
  void save_devices();
  MachineState machine_state() const;

  vmm::Vm& vm_;
  SnapshotRing& ring_;
  std::shared_ptr<PageStore> store_;  // the ring's
  std::unique_ptr<DirtySource> source_;
  std::vector<SavedDevice> devices_;
  SnapshotterOptions options_;

  std::vector<std::uint64_t> pending_;  // pages to copy, one bit each
  std::vector<std::uint64_t> touched_;  // likewise, those that readers want
  std::vector<std::uint64_t> only_;     // of this tick: nothing else is copied, unless it is empty
  bool refused_ = false;                // the tick before did not fit
  bool hurried_ = false;

  // The staging area: cell i holds the newest copy of page staged_page_[i].
  std::byte* staging_ = nullptr;
  std::vector<std::uint32_t> staged_page_;  // count = size(), never beyond its reserved capacity
  std::vector<std::uint32_t> cell_of_;      // by page: cell + 1, 0 = not staged

  // Pages of this snapshot that are in the store already, one reference each.
  std::vector<PageChange> changes_;
  std::vector<std::uint32_t> change_of_;  // by page: index into changes_ + 1, 0 = none

  std::vector<std::vector<std::byte>> device_state_;  // buffers, filled in the pause
  std::vector<std::size_t> device_bytes_;
  std::vector<AtGate> at_gate_;
  std::vector<std::byte> chips_;  // PIC, IOAPIC, PIT, clock
  std::uint64_t guest_clock_ns_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace floe::freeze
