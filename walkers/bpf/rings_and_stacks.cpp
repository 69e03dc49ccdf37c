// Ring buffers (struct bpf_ringbuf: positions that only grow, each on a page of its own) and stack traces (struct bpf_stack_map: a pointer
// per bucket to a stack that some program stored there last).
#include <array>

#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {

Result<Ringbuf> MapReader::ringbuf(const MapInfo& map) const {
  if (!layout_->ring) return fail(layout_->ring.error());
  const RingFields& fields = *layout_->ring;
  const auto& memory = kernel_->memory();
  const auto rb = memory.load<std::uint64_t>(map.address + fields.rb, "bpf_ringbuf_map.rb");
  if (!rb) return fail(rb.error());
  if (*rb == 0) return fail("bpf_ringbuf_map.rb is null");
  const Kva ring(*rb);
  const auto mask = memory.load<std::uint64_t>(ring + fields.mask, "bpf_ringbuf.mask");
  if (!mask) return fail(mask.error());
  if (*mask == ~std::uint64_t{0}) return fail("bpf_ringbuf.mask is all ones");
  const auto consumer = memory.load<std::uint64_t>(ring + fields.consumer, "bpf_ringbuf.consumer_pos");
  if (!consumer) return fail(consumer.error());
  const auto producer = memory.load<std::uint64_t>(ring + fields.producer, "bpf_ringbuf.producer_pos");
  if (!producer) return fail(producer.error());
  // Kernels without pending_pos begin every reservation where the producer stands.
  std::uint64_t pending = *producer;
  if (fields.pending) {
    const auto found = memory.load<std::uint64_t>(ring + *fields.pending, "bpf_ringbuf.pending_pos");
    if (!found) return fail(found.error());
    pending = *found;
  }
  return Ringbuf{*mask + 1, *consumer, *producer, pending, *producer - *consumer};
}

Result<StackTrace> MapReader::stack_trace(const MapInfo& map, const MapLimits& limits, WalkBudget& budget) const {
  constexpr std::uint32_t kBuildId = 1 << 5;   // BPF_F_STACK_BUILD_ID
  constexpr std::uint64_t kBuildIdBytes = 32;  // struct bpf_stack_build_id
  constexpr std::uint64_t kMaxBuckets = 1u << 31;
  constexpr std::uint64_t kMaxRecords = 4096;  // kernel.perf_event_max_stack is 127; its sysctl allows some more
  if (!layout_->stack) return fail(layout_->stack.error());
  const StackFields& fields = *layout_->stack;
  const auto& memory = kernel_->memory();
  const auto count = memory.get_number(map.address, fields.n_buckets);
  if (!count) return memory.unreadable(map.address + fields.n_buckets.offset, fields.n_buckets.bytes, "bpf_stack_map.n_buckets");
  if (*count > kMaxBuckets) return fail(fmt::format("n_buckets is {}", *count));

  const bool build_ids = (map.flags & kBuildId) != 0;
  const std::uint64_t record = build_ids ? kBuildIdBytes : sizeof(std::uint64_t);
  const std::uint64_t most = std::min<std::uint64_t>(map.value_size / record, kMaxRecords);
  StackTrace result;
  result.n_buckets = static_cast<std::uint32_t>(*count);
  const std::uint64_t taken = limits.stack_buckets == 0 ? *count : std::min(limits.stack_buckets, *count);
  std::uint64_t bytes = 0;
  std::uint64_t bucket = 0;
  for (; bucket < taken && budget.step(); ++bucket) {
    const auto pointer = memory.get<std::uint64_t>(map.address + fields.buckets + 8 * bucket);
    if (pointer && *pointer == 0) continue;
    const auto nr = pointer ? memory.get_number(Kva(*pointer), fields.nr) : std::nullopt;
    if (!nr) {
      ++result.buckets_unreadable;
      continue;
    }
    StackTraceEntry entry;
    entry.bucket_id = static_cast<std::uint32_t>(bucket);
    entry.nr = static_cast<std::uint32_t>(*nr);
    entry.data_bytes.resize(std::min(*nr, most) * record);
    if (limits.bytes != 0 && bytes + entry.data_bytes.size() > limits.bytes) break;
    bytes += entry.data_bytes.size();
    if (!memory.read_all(Kva(*pointer) + fields.data, entry.data_bytes)) entry.data_bytes.clear();
    if (!build_ids) {
      entry.pcs.resize(entry.data_bytes.size() / sizeof(std::uint64_t));
      if (!entry.pcs.empty()) std::memcpy(entry.pcs.data(), entry.data_bytes.data(), entry.data_bytes.size());
      for (const auto pc : entry.pcs) {
        const auto at = kernel_->symbols().at(Kva(pc));
        entry.symbols.push_back(at ? fmt::format("{}+{:#x}", at->name, at->offset) : std::string());
      }
    }
    result.entries.push_back(std::move(entry));
  }
  result.truncated = bucket < *count;
  return result;
}

}  // namespace floe::walkers::bpf
