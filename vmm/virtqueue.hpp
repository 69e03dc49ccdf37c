// A split virtqueue (virtio 1.x, 2.7) seen from the device: takes descriptor chains that the driver made available and gives
// them back as used.
//
// Everything in the rings is written by a hostile driver, on other CPUs, while it is being read. So each descriptor is copied
// once and judged in the copy; every address becomes a host span of exactly the checked length; a chain is at most as long
// as the queue; the available index may run ahead by at most the queue's size. What breaks a rule is a QueueFault: the queue
// gives nothing more out, and its owner marks the device as needing a reset. Addresses outside of guest RAM never reach memory.
//
// Not offered, hence refused or ignored: indirect descriptors, event indexes, packed rings. No lock: the owner has one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "vmm/ram.hpp"

namespace floe::vmm {

enum class QueueFault : std::uint8_t {
  kNone,
  kSize,        // the queue's size is not a power of two within the maximum
  kAlignment,   // a ring's address is not aligned as its kind asks (16, 2, 4)
  kRing,        // a ring is not inside one region of guest RAM
  kAvailIndex,  // more chains available than the queue has descriptors
  kHead,        // a chain's first descriptor is not in the table
  kNext,        // a next index is not in the table
  kLoop,        // a chain with more descriptors than the queue has
  kOrder,       // a readable descriptor behind a writable one
  kIndirect,    // an indirect descriptor, which was not offered
  kLength,      // a chain's buffers add up to more than the limit
  kBuffer,      // a buffer is not inside one region of guest RAM
};
inline constexpr std::size_t kQueueFaults = 12;
std::string_view to_string(QueueFault fault);

// One chain, as host memory. Valid until the next peek(). Empty buffers are left out.
struct Chain {
  struct Buffer {
    std::span<std::byte> host;
    Gpa gpa;
  };
  std::uint16_t head = 0;
  std::size_t descriptors = 0;
  std::uint64_t readable_bytes = 0, writable_bytes = 0;
  bool writable_seen = false;  // even an empty one
  std::vector<Buffer> readable, writable;
};

class Virtqueue {
 public:
  // What a chain may add up to: far above anything a console driver sends (32 KiB a write), and what one call may copy.
  static constexpr std::uint64_t kMaxChainBytes = 256U << 10;

  struct Layout {
    std::uint16_t size = 0;
    Gpa descriptors, available, used;
  };

  // `ram` must outlive the queue.
  Virtqueue(GuestRam& ram, std::uint16_t max_size);

  // Checks and maps the rings and starts at index 0. Anything but kNone leaves the queue disabled.
  QueueFault enable(const Layout& layout);
  void disable();
  bool enabled() const { return enabled_; }
  QueueFault fault() const { return fault_; }

  enum class Peek : std::uint8_t { kChain, kEmpty, kFault };
  // The oldest chain not yet taken, without taking it. kFault stays until the queue is disabled.
  Peek peek(Chain& chain);
  // Takes the chain that peek() gave and returns it to the driver, with `written` bytes in its writable buffers.
  void finish(const Chain& chain, std::uint32_t written);
  // Copies to the chain's writable buffers, marking guest memory as written; returns the bytes copied.
  std::size_t fill(const Chain& chain, std::span<const std::byte> data);

  // Whether the driver wants to be interrupted for what was finished. To be asked after the last finish().
  bool interrupt_wanted() const;

  std::uint16_t taken() const { return taken_; }  // chains taken so far, wrapping: the index of the next one
  std::uint16_t used() const { return used_; }    // value of used.idx
  const Layout& layout() const { return layout_; }

 private:
  struct Descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
  };
  Peek raise(QueueFault fault);
  QueueFault collect(std::uint16_t head, Chain& chain);
  QueueFault append(const Descriptor& descriptor, Chain& chain);

  GuestRam& ram_;
  std::uint16_t max_size_;
  bool enabled_ = false;
  QueueFault fault_ = QueueFault::kNone;
  Layout layout_;
  std::span<std::byte> descriptors_, available_, used_ring_;
  std::uint16_t taken_ = 0;
  std::uint16_t used_ = 0;
};

}  // namespace floe::vmm
