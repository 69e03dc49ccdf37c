#include "vmm/virtqueue.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace floe::vmm {
namespace {

constexpr std::uint16_t kNext = 1, kWrite = 2, kIndirectFlag = 4;  // VRING_DESC_F_*
constexpr std::uint16_t kNoInterrupt = 1;                          // VRING_AVAIL_F_NO_INTERRUPT
constexpr std::size_t kDescriptorBytes = 16, kUsedElementBytes = 8, kRingHeaderBytes = 4;
constexpr std::size_t kIndexOffset = 2;  // of idx behind flags, in both rings

// A ring's 16-bit field, shared with the driver. Alignment was checked when the ring was mapped.
std::uint16_t* field(std::span<std::byte> ring, std::size_t offset) {
  return static_cast<std::uint16_t*>(static_cast<void*>(ring.data() + offset));  // NOLINT(bugprone-casting-through-void): -Wcast-align
}

}  // namespace

std::string_view to_string(QueueFault fault) {
  static constexpr std::array<std::string_view, kQueueFaults> kNames = {
      "none",
      "queue size is not a power of two within the maximum",
      "ring address is not aligned",
      "ring is outside of guest RAM",
      "available index runs ahead of the queue",
      "head index is outside of the table",
      "next index is outside of the table",
      "chain is longer than the queue (a loop)",
      "readable descriptor behind a writable one",
      "indirect descriptor was not offered",
      "chain is too long in bytes",
      "buffer is outside of guest RAM",
  };
  const auto index = static_cast<std::size_t>(fault);
  return index < kNames.size() ? kNames[index] : "unknown";
}

Virtqueue::Virtqueue(GuestRam& ram, std::uint16_t max_size) : ram_(ram), max_size_(max_size) {}

QueueFault Virtqueue::enable(const Layout& layout) {
  disable();
  layout_ = layout;
  const std::size_t size = layout.size;
  if (size > max_size_ || !std::has_single_bit(size)) return fault_ = QueueFault::kSize;
  if (layout.descriptors.value % 16 != 0 || layout.available.value % 2 != 0 || layout.used.value % 4 != 0)
    return fault_ = QueueFault::kAlignment;
  descriptors_ = ram_.slice(layout.descriptors, size * kDescriptorBytes);
  available_ = ram_.slice(layout.available, kRingHeaderBytes + 2 * size);
  used_ring_ = ram_.slice(layout.used, kRingHeaderBytes + kUsedElementBytes * size);
  if (descriptors_.empty() || available_.empty() || used_ring_.empty()) return fault_ = QueueFault::kRing;
  enabled_ = true;
  return QueueFault::kNone;
}

void Virtqueue::disable() {
  enabled_ = false;
  fault_ = QueueFault::kNone;
  layout_ = {};
  descriptors_ = available_ = used_ring_ = {};
  taken_ = used_ = 0;
}

Virtqueue::Peek Virtqueue::raise(QueueFault fault) {
  fault_ = fault;
  return Peek::kFault;
}

Virtqueue::Peek Virtqueue::peek(Chain& chain) {
  if (fault_ != QueueFault::kNone) return Peek::kFault;
  if (!enabled_) return Peek::kEmpty;
  // Acquire: what the driver wrote before it raised the index (ring entry, descriptors, buffers) is visible after this load.
  const std::uint16_t index = __atomic_load_n(field(available_, kIndexOffset), __ATOMIC_ACQUIRE);
  const auto waiting = static_cast<std::uint16_t>(index - taken_);
  if (waiting == 0) return Peek::kEmpty;
  if (waiting > layout_.size) return raise(QueueFault::kAvailIndex);
  const std::size_t slot = taken_ % layout_.size;
  const std::uint16_t head = __atomic_load_n(field(available_, kRingHeaderBytes + 2 * slot), __ATOMIC_RELAXED);
  const QueueFault fault = collect(head, chain);
  return fault == QueueFault::kNone ? Peek::kChain : raise(fault);
}

QueueFault Virtqueue::collect(std::uint16_t head, Chain& chain) {
  chain.head = head;
  chain.descriptors = 0;
  chain.readable_bytes = chain.writable_bytes = 0;
  chain.writable_seen = false;
  chain.readable.clear();
  chain.writable.clear();
  if (head >= layout_.size) return QueueFault::kHead;
  for (std::uint16_t index = head;;) {
    if (chain.descriptors == layout_.size) return QueueFault::kLoop;
    Descriptor descriptor;
    static_assert(sizeof descriptor == kDescriptorBytes);
    std::memcpy(&descriptor, descriptors_.data() + index * kDescriptorBytes, sizeof descriptor);
    // The copy is what counts from here on: without this the compiler might read guest memory a second time.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    ++chain.descriptors;
    if (const QueueFault fault = append(descriptor, chain); fault != QueueFault::kNone) return fault;
    if ((descriptor.flags & kNext) == 0) return QueueFault::kNone;
    if (descriptor.next >= layout_.size) return QueueFault::kNext;
    index = descriptor.next;
  }
}

QueueFault Virtqueue::append(const Descriptor& descriptor, Chain& chain) {
  if ((descriptor.flags & kIndirectFlag) != 0) return QueueFault::kIndirect;
  const bool write = (descriptor.flags & kWrite) != 0;
  if (!write && chain.writable_seen) return QueueFault::kOrder;
  chain.writable_seen |= write;
  if (descriptor.length == 0) return QueueFault::kNone;
  if (chain.readable_bytes + chain.writable_bytes + descriptor.length > kMaxChainBytes) return QueueFault::kLength;
  const Gpa gpa(descriptor.address);
  const std::span<std::byte> host = ram_.slice(gpa, descriptor.length);
  if (host.empty()) return QueueFault::kBuffer;
  (write ? chain.writable : chain.readable).push_back({host, gpa});
  (write ? chain.writable_bytes : chain.readable_bytes) += descriptor.length;
  return QueueFault::kNone;
}

std::size_t Virtqueue::fill(const Chain& chain, std::span<const std::byte> data) {
  std::size_t done = 0;
  for (const Chain::Buffer& buffer : chain.writable) {
    const std::size_t piece = std::min(buffer.host.size(), data.size() - done);
    if (piece == 0) break;
    std::memcpy(buffer.host.data(), data.data() + done, piece);
    ram_.mark_written(buffer.gpa, piece);
    done += piece;
  }
  return done;
}

void Virtqueue::finish(const Chain& chain, std::uint32_t written) {
  if (!enabled_) return;
  const std::size_t at = kRingHeaderBytes + kUsedElementBytes * (used_ % layout_.size);
  const std::uint32_t element[2] = {chain.head, written};
  std::memcpy(used_ring_.data() + at, element, sizeof element);
  ++taken_;
  ++used_;
  // Release: the element and the buffers are there before the driver can see the index.
  __atomic_store_n(field(used_ring_, kIndexOffset), used_, __ATOMIC_RELEASE);
  ram_.mark_written(layout_.used + at, sizeof element);
  ram_.mark_written(layout_.used, kRingHeaderBytes);
}

// The driver clears its flag and then looks at used.idx; here it is the other way round. The fence makes sure that at least one
// of the two sees the other's store, or an interrupt would be lost.
bool Virtqueue::interrupt_wanted() const {
  if (!enabled_) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return (__atomic_load_n(field(available_, 0), __ATOMIC_RELAXED) & kNoInterrupt) == 0;
}

}  // namespace floe::vmm
