#include "vmm/msix.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint64_t kMessagePrefix = 0xfee;  // address bits 63..20 of an interrupt message to a local APIC

bool aligned(std::uint64_t offset, std::size_t size) {
  return (size == 4 || size == 8) && offset % size == 0;
}

}  // namespace

MsixTable::MsixTable(MsiSink& sink, unsigned vectors) : sink_(sink), entries_(std::min(vectors, kMaxVectors)) {}

void MsixTable::set_control(std::uint16_t control) {
  enabled_ = (control & kControlEnable) != 0;
  masked_ = (control & kControlMask) != 0;
  for (unsigned vector = 0; vector < vectors(); ++vector) refresh(vector);
}

void MsixTable::read_table(std::uint64_t offset, std::span<std::byte> data) const {
  fill_ones(data);
  if (!aligned(offset, data.size()) || offset >= entries_.size() * kEntryBytes) {
    ++counters_.bad_accesses;
    return;
  }
  const auto& words = entries_[offset / kEntryBytes].words;
  std::memcpy(data.data(), words.data() + offset % kEntryBytes / 4, data.size());
}

void MsixTable::write_table(std::uint64_t offset, std::span<const std::byte> data) {
  if (!aligned(offset, data.size()) || offset >= entries_.size() * kEntryBytes) {
    ++counters_.bad_accesses;
    return;
  }
  const auto vector = static_cast<unsigned>(offset / kEntryBytes);
  auto& words = entries_[vector].words;
  std::memcpy(words.data() + offset % kEntryBytes / 4, data.data(), data.size());
  words[3] &= 1U;
  refresh(vector);
}

void MsixTable::read_pending(std::uint64_t offset, std::span<std::byte> data) const {
  std::array<std::byte, 8> image;
  store_le(image, pending_);
  read_image(image, offset, data);
}

void MsixTable::refresh(unsigned vector) {
  Entry& entry = entries_[vector];
  if (!deliverable(entry)) return;
  const MsiMessage message{std::uint64_t{entry.words[1]} << 32 | entry.words[0], entry.words[2]};
  if (message.address >> 20 != kMessagePrefix) {
    // On hardware this would be a write to memory. It is nothing that an interrupt controller should ever see.
    entry.valid = false;
    ++counters_.bad_messages;
    return;
  }
  if (!entry.valid || entry.routed.address != message.address || entry.routed.data != message.data) {
    entry.routed = message;
    entry.valid = true;
    sink_.route(vector, message);
  }
  const std::uint64_t bit = std::uint64_t{1} << vector;
  if ((pending_ & bit) == 0) return;
  pending_ &= ~bit;
  ++counters_.delivered;
  sink_.trigger(vector);
}

void MsixTable::trigger(unsigned vector) {
  if (vector >= vectors() || !enabled_) {
    ++counters_.undelivered;
    return;
  }
  const Entry& entry = entries_[vector];
  if (!deliverable(entry)) {
    pending_ |= std::uint64_t{1} << vector;
    ++counters_.held;
  } else if (entry.valid) {
    ++counters_.delivered;
    sink_.trigger(vector);
  } else {
    ++counters_.undelivered;
  }
}

void MsixTable::copy_entries(std::span<std::byte> out) const noexcept {
  for (const Entry& entry : entries_) {
    if (out.size() < kEntryBytes) return;
    std::memcpy(out.data(), entry.words.data(), kEntryBytes);
    out = out.subspan(kEntryBytes);
  }
}

}  // namespace floe::vmm
