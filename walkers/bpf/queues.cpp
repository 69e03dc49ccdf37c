// Queues and stacks (struct bpf_queue_stack: a ring of max_entries + 1 slots, filled from tail to head), and bloom filters.
#include <bit>

#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {

Result<void> walk_queue(Walk& walk, const MapInfo& map) {
  if (!walk.layout.queue) return fail(walk.layout.queue.error());
  const QueueFields& fields = *walk.layout.queue;
  if (auto sane = check_sizes(map, false); !sane) return sane;
  const auto head = walk.memory.get_number(map.address, fields.head);
  const auto tail = walk.memory.get_number(map.address, fields.tail);
  const auto size = walk.memory.get_number(map.address, fields.size);
  if (!head || !tail || !size) return fail(fmt::format("bpf_queue_stack is unreadable: {}", walk.memory.explain(map.address)));
  if (*size != std::uint64_t{map.max_entries} + 1 || *head >= *size || *tail >= *size)
    return fail(
        fmt::format("a ring of {} slots for {} entries has its head at {} and its tail at {}", *size, map.max_entries, *head, *tail));
  std::vector<std::byte> value(map.value_size);
  Losses unreadable;
  for (std::uint64_t slot = *tail; slot != *head; slot = (slot + 1) % *size) {
    if (!walk.step()) break;
    const Kva at = map.address + fields.elements + slot * map.value_size;
    const bool readable = walk.memory.read_all(at, value);
    if (!readable) unreadable.add([&] { return fmt::format("slot {}, {}", slot, walk.memory.explain(at)); });
    if (!walk.give({{}, readable ? std::optional<std::span<const std::byte>>(value) : std::nullopt, {}, at})) break;
  }
  unreadable.tell(walk, "elements are unreadable");
  return {};
}

// A bloom filter stores no keys; how full it is says how far to trust a hit.
Result<std::string> describe_bloom(const KernelMemory& memory, const Result<BloomFields>& fields, const MapInfo& map, WalkBudget& budget) {
  if (!fields) return fail(fields.error());
  const auto mask = memory.get_number(map.address, fields->mask);
  const auto hashes = memory.get_number(map.address, fields->hashes);
  if (!mask || !hashes) return fail(fmt::format("bpf_bloom_filter is unreadable: {}", memory.explain(map.address)));
  const std::uint64_t bits = *mask + 1;
  std::uint64_t set = 0;
  std::array<std::uint64_t, kPageBytes / 8> words;
  for (std::uint64_t done = 0; done < bits; done += words.size() * 64) {
    if (!budget.step()) return fail(fmt::format("{} after {} of {} bits", budget.reason(), done, bits));
    const auto here = std::span(words).first(std::min<std::uint64_t>(words.size(), (bits - done + 63) / 64));
    const Kva at = map.address + fields->bits + done / 8;
    if (!memory.read_all(at, std::as_writable_bytes(here))) return fail(fmt::format("its bits are unreadable: {}", memory.explain(at)));
    for (const auto word : here) set += static_cast<std::uint64_t>(std::popcount(word));
  }
  return fmt::format("a bloom filter stores no keys; {} of its {} bits are set, {} by a value", set, bits, *hashes);
}

}  // namespace floe::walkers::bpf
