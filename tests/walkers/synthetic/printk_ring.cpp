#include "tests/walkers/synthetic/printk_ring.hpp"

namespace floe::walkers::synthetic {
namespace {

constexpr std::uint64_t kCount = 1u << PrintkRing::kCountBits;
constexpr std::uint64_t kSize = 1u << PrintkRing::kSizeBits;
constexpr std::uint64_t kIds = (std::uint64_t{1} << 62) - 1;

}  // namespace

KernelSpec PrintkRing::needs(KernelSpec spec) {
  spec.symbols.push_back({"prb", 0x7f00, 'd'});
  spec.add_types = [before = spec.add_types](TypeWriter& w) {
    if (before) before(w);
    const int counter = w.add_struct("", 8, {{"counter", w.u64, 0}});
    const int lpos = w.add_struct("prb_data_blk_lpos", 16, {{"begin", w.u64, 0}, {"next", w.u64, 64}});
    w.add_struct("prb_desc", 24, {{"state_var", counter, 0}, {"text_blk_lpos", lpos, 64}});
    const int dev =
        w.add_struct("dev_printk_info", 64, {{"subsystem", w.array(w.character, 16), 0}, {"device", w.array(w.character, 48), 128}});
    w.add_struct("printk_info", 104,
                 {{"seq", w.u64, 0},
                  {"ts_nsec", w.u64, 64},
                  {"text_len", w.u16, 128},
                  {"facility", w.u8, 144},
                  {"flags", w.u8, 152, 5},
                  {"level", w.u8, 157, 3},
                  {"caller_id", w.u32, 160},
                  {"comm", w.array(w.character, 16), 192},
                  {"dev_info", dev, 320}});
    const int descs = w.add_struct("prb_desc_ring", 48,
                                   {{"count_bits", w.u32, 0},
                                    {"descs", w.pointer, 64},
                                    {"infos", w.pointer, 128},
                                    {"head_id", counter, 192},
                                    {"tail_id", counter, 256}});
    const int text = w.add_struct(
        "prb_data_ring", 32, {{"size_bits", w.u32, 0}, {"data", w.pointer, 64}, {"head_lpos", counter, 128}, {"tail_lpos", counter, 192}});
    w.add_struct("printk_ringbuffer", 88, {{"desc_ring", descs, 0}, {"text_data_ring", text, 384}, {"fail", counter, 640}});
  };
  return spec;
}

PrintkRing::PrintkRing(SyntheticKernel& own) : guest(own) {
  ring_ = guest.allocate(kPageBytes);
  descs_ = guest.allocate(kPageBytes);
  infos_ = guest.allocate(kPageBytes);
  data_ = guest.allocate(kPageBytes);
  guest.put(guest.symbol("prb"), ring_.value);
  guest.put(ring_ + guest.offset("printk_ringbuffer.desc_ring.count_bits"), kCountBits);
  guest.put(ring_ + guest.offset("printk_ringbuffer.desc_ring.descs"), descs_.value);
  guest.put(ring_ + guest.offset("printk_ringbuffer.desc_ring.infos"), infos_.value);
  guest.put(ring_ + guest.offset("printk_ringbuffer.text_data_ring.size_bits"), kSizeBits);
  guest.put(ring_ + guest.offset("printk_ringbuffer.text_data_ring.data"), data_.value);
  // DESC0_ID and BLK0_LPOS: ids and positions that overflow soon. The first descriptor is a reusable one.
  head_ = tail_ = (0 - (kCount + 1)) & kIds;
  next_ = 0 - kSize;
  set_state(head_, reusable);
  guest.put(desc(head_) + guest.offset("prb_desc.text_blk_lpos.begin"), std::uint64_t{1});
  guest.put(desc(head_) + guest.offset("prb_desc.text_blk_lpos.next"), std::uint64_t{1});
}

Kva PrintkRing::desc(std::uint64_t id) const {
  return descs_ + id % kCount * 24;
}

Kva PrintkRing::info(std::uint64_t id) const {
  return infos_ + id % kCount * 104;
}

void PrintkRing::set_state(std::uint64_t id, State state) {
  guest.put(desc(id), static_cast<std::uint64_t>(state) << 62 | id);
}

void PrintkRing::free_oldest() {
  set_state(tail_, reusable);
  tail_ = (tail_ + 1) & kIds;
}

std::uint64_t PrintkRing::add(std::optional<std::string> text, State state) {
  if (((head_ - tail_) & kIds) + 1 == kCount) free_oldest();
  head_ = (head_ + 1) & kIds;
  std::uint64_t begin = 1, next = 1;
  if (text && text->empty()) begin = next = 3;
  if (text && !text->empty()) {
    const std::uint64_t bytes = (8 + text->size() + 7) & ~std::uint64_t{7};
    begin = next_;
    next = begin + bytes;
    const bool wraps = begin / kSize != (next - 1) / kSize;
    if (wraps) next = next / kSize * kSize + bytes;
    const Kva block = data_ + (wraps ? 0 : begin % kSize);
    guest.put(block, head_);
    guest.write(block + 8, bytes_of(*text));
    next_ = next;
  }
  guest.put(desc(head_) + guest.offset("prb_desc.text_blk_lpos.begin"), begin);
  guest.put(desc(head_) + guest.offset("prb_desc.text_blk_lpos.next"), next);
  const std::uint64_t number = (head_ - ((0 - kCount) & kIds)) & kIds;
  guest.put(info(head_), number);
  guest.put(info(head_) + guest.offset("printk_info.ts_nsec"), 1'000'000'000 + number * 1'500'000);
  guest.put(info(head_) + guest.offset("printk_info.text_len"), static_cast<std::uint16_t>(text ? text->size() : 0));
  guest.put(info(head_) + 19, static_cast<std::uint8_t>(6 << 5 | 2));  // level 6, LOG_NEWLINE
  guest.put(info(head_) + guest.offset("printk_info.caller_id"), std::uint32_t{77});
  set_state(head_, state);
  guest.put(ring_ + guest.offset("printk_ringbuffer.desc_ring.head_id"), head_);
  guest.put(ring_ + guest.offset("printk_ringbuffer.desc_ring.tail_id"), tail_);
  return head_;
}

}  // namespace floe::walkers::synthetic
