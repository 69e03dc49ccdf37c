// A printk ring made by a test, as kernel/printk/printk_ringbuffer.c fills it.
#pragma once

#include <string>

#include "tests/walkers/synthetic/kernel.hpp"

namespace floe::walkers::synthetic {

class PrintkRing {
 public:
  static constexpr unsigned kCountBits = 3;  // 8 descriptors
  static constexpr unsigned kSizeBits = 9;   // 512 bytes of text
  enum State : std::uint64_t { reserved, committed, finalized, reusable };

  // The types and the symbol it needs, over what a spec already has.
  static KernelSpec needs(KernelSpec spec = {});
  explicit PrintkRing(SyntheticKernel& guest);

  // One more record, over the oldest ones where there is no room. `text` without value: one whose text found no room (FAILED_LPOS).
  std::uint64_t add(std::optional<std::string> text, State state = finalized);

  Kva desc(std::uint64_t id) const;
  Kva info(std::uint64_t id) const;
  void set_state(std::uint64_t id, State state);
  Kva ring() const { return ring_; }
  Kva data() const { return data_; }
  std::uint64_t newest() const { return head_; }

  SyntheticKernel& guest;

 private:
  void free_oldest();

  Kva ring_, descs_, infos_, data_;
  std::uint64_t head_ = 0, tail_ = 0;
  std::uint64_t next_ = 0;  // logical position of the next text
};

}  // namespace floe::walkers::synthetic
