// The MSI-X part of one PCI function: the vector table, the pending bits and the two levels of masking.
//
// A vector is routed when it can be delivered (MSI-X on, neither the function nor the vector masked), and again when the guest
// changes its message; a trigger while masked sets the pending bit, and unmasking delivers it. No lock: the function has one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/device.hpp"

namespace floe::vmm {

class MsixTable {
 public:
  static constexpr std::size_t kEntryBytes = 16;
  static constexpr unsigned kMaxVectors = 64;  // one word of pending bits
  static constexpr std::uint16_t kControlEnable = 1U << 15, kControlMask = 1U << 14;

  // `sink` must outlive the table.
  MsixTable(MsiSink& sink, unsigned vectors);

  unsigned vectors() const { return static_cast<unsigned>(entries_.size()); }
  bool enabled() const { return enabled_; }

  // The message control word, as the guest wrote it.
  void set_control(std::uint16_t control);
  // Accesses are aligned dwords or quadwords (PCI 3.0, 6.8.2); others read all ones, or are dropped and counted.
  void read_table(std::uint64_t offset, std::span<std::byte> data) const;
  void write_table(std::uint64_t offset, std::span<const std::byte> data);
  void read_pending(std::uint64_t offset, std::span<std::byte> data) const;

  void trigger(unsigned vector);

  struct Counters {
    std::uint64_t delivered = 0;
    std::uint64_t held = 0;          // triggered while masked
    std::uint64_t undelivered = 0;   // triggered with MSI-X off, no such vector, or a message that is none
    std::uint64_t bad_messages = 0;  // unmasked with an address outside of 0xFEEnnnnn: not routed
    std::uint64_t bad_accesses = 0;
  };
  const Counters& counters() const { return counters_; }

  std::uint64_t pending() const { return pending_; }
  // Bytes of `vectors` table entries, for snapshots.
  void copy_entries(std::span<std::byte> out) const noexcept;

 private:
  struct Entry {
    std::array<std::uint32_t, 4> words = {0, 0, 0, 1};  // address low, address high, data, control (bit 0: masked)
    MsiMessage routed;
    bool valid = false;  // `routed` is in the sink
  };
  bool deliverable(const Entry& entry) const { return enabled_ && !masked_ && (entry.words[3] & 1U) == 0; }
  void refresh(unsigned vector);

  MsiSink& sink_;
  std::vector<Entry> entries_;
  bool enabled_ = false;
  bool masked_ = false;
  std::uint64_t pending_ = 0;
  mutable Counters counters_;
};

}  // namespace floe::vmm
