// What a snapshot is besides its pages: when it was taken, what the pause cost, and the state of the machine around the RAM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "vmm/ram.hpp"

namespace floe::freeze {

// Times of the host are CLOCK_MONOTONIC and CLOCK_REALTIME at the kick; durations are microseconds of the monotonic clock.
struct SnapshotMeta {
  std::uint64_t sequence = 0;  // 1, 2, 3, ... of the run; never reused
  std::uint64_t tick = 0;      // of the snapshot timer, counted from the guest's hello; skipped ticks leave gaps
  std::uint64_t monotonic_ns = 0;
  std::uint64_t realtime_ns = 0;
  std::uint64_t guest_clock_ns = 0;  // KVM_GET_CLOCK inside the pause
  std::uint64_t precopy_us = 0;      // guest running
  std::uint64_t kick_to_park_us = 0;
  std::uint64_t capture_us = 0;
  std::uint64_t thaw_us = 0;
  std::uint64_t pause_us = 0;        // first kick to the last vCPU released
  std::uint64_t dirty_pages = 0;     // copied for this snapshot, residual ones included
  std::uint64_t residual_pages = 0;  // copied inside the pause
  std::uint64_t passes = 0;          // pre-copy passes
  bool whole = true;  // false: the dirty pages did not fit, only those were captured that walkers touch; the others are unknown
};

struct VcpuState {
  std::uint32_t id = 0;
  std::uint64_t ip = 0, sp = 0, cr3 = 0;
  std::vector<std::byte> blob;  // everything, as the vCPU's capture wrote it
};

struct DeviceState {
  std::string name;
  std::vector<std::byte> blob;
};

struct MachineState {
  std::vector<VcpuState> vcpus;
  std::vector<DeviceState> devices;

  // What it takes in memory.
  std::uint64_t bytes() const;
};

// Where the pages of a snapshot sit in guest-physical space. Page indexes are those of vmm::GuestRam.
struct RamSlot {
  Gpa start;
  std::uint64_t bytes = 0;       // a multiple of kPageBytes
  std::uint32_t first_page = 0;  // index of the slot's first page
};

class RamLayout {
 public:
  RamLayout() = default;
  // Error: a slot that is empty, unaligned, wraps, is out of order, overlaps the one before, or whose pages do not follow on the pages of
  // the one before; or more pages than an index can name.
  static Result<RamLayout> create(std::vector<RamSlot> slots);
  // Of a guest's RAM as it is. RAM that GuestRam could create always has a layout, up to 16 TiB.
  static Result<RamLayout> of(const vmm::GuestRam& ram);

  const std::vector<RamSlot>& slots() const { return slots_; }
  std::uint32_t pages() const { return pages_; }
  // Bytes of RAM from `gpa` on within its slot, 0 when it is not RAM; `page` gets its page index.
  std::uint64_t find(Gpa gpa, std::uint32_t& page) const;

 private:
  std::vector<RamSlot> slots_;
  std::uint32_t pages_ = 0;
};

}  // namespace floe::freeze
