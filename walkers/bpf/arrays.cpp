// Arrays: the values lie one after the other in the map itself, or a pointer per key leads to a value per CPU (struct bpf_array). An
// mmapable array is allocated so that its values begin a page; bpf_array.value is right for it all the same.
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kChunk = 64 * 1024;  // read at once, when values are small

// `count` values of `bytes`, `stride` apart.
void walk_values(Walk& walk, Kva base, std::uint64_t count, std::uint64_t bytes, std::uint64_t stride) {
  const std::uint64_t at_once = std::max<std::uint64_t>(1, kChunk / stride);
  std::vector<std::byte> buffer(std::min(at_once, count) * stride);
  Losses unreadable;
  for (std::uint64_t first = 0; first < count; first += at_once) {
    const std::uint64_t here = std::min(at_once, count - first);
    // Of the last value the padding need not be there.
    const auto chunk = std::span(buffer).first((here - 1) * stride + bytes);
    const bool whole = walk.memory.read_all(base + first * stride, chunk);
    for (std::uint64_t i = 0; i < here; ++i) {
      if (!walk.step()) return;
      const Kva at = base + (first + i) * stride;
      const auto value = chunk.subspan(i * stride, bytes);
      const bool readable = whole || walk.memory.read_all(at, value);
      if (!readable) unreadable.add([&] { return fmt::format("key {}, {}", first + i, walk.memory.explain(at)); });
      const auto key = static_cast<std::uint32_t>(first + i);
      if (!walk.give({bytes_of(key), readable ? std::optional<std::span<const std::byte>>(value) : std::nullopt, {}, at}))
        return unreadable.tell(walk, "values are unreadable");
    }
  }
  unreadable.tell(walk, "values are unreadable");
}

}  // namespace

Result<void> walk_array(Walk& walk, const MapInfo& map) {
  if (!walk.layout.array) return fail(walk.layout.array.error());
  if (auto sane = check_sizes(map, false); !sane) return sane;
  walk_values(walk, map.address + walk.layout.array->value, map.max_entries, map.value_size, round_up_8(map.value_size));
  return {};
}

Result<void> walk_insn_array(Walk& walk, const MapInfo& map) {
  if (!walk.layout.insns) return fail(walk.layout.insns.error());
  if (auto sane = check_sizes(map, false); !sane) return sane;
  walk_values(walk, map.address + walk.layout.insns->values, map.max_entries, map.value_size, map.value_size);
  return {};
}

Result<void> walk_percpu_array(Walk& walk, const MapInfo& map) {
  if (!walk.layout.array) return fail(walk.layout.array.error());
  if (auto sane = check_sizes(map, false); !sane) return sane;
  auto values = PerCpuValues::make(walk, map.value_size);
  if (!values) return fail(values.error());
  const Kva pointers = map.address + walk.layout.array->value;
  Losses unreadable;
  for (std::uint32_t key = 0; key < map.max_entries; ++key) {
    if (!walk.step()) return {};
    const auto pointer = walk.memory.get<std::uint64_t>(pointers + std::uint64_t{8} * key);
    if (!pointer) unreadable.add([&] { return fmt::format("key {}, {}", key, walk.memory.explain(pointers + std::uint64_t{8} * key)); });
    if (!walk.give({bytes_of(key), std::nullopt, values->read(walk, pointer.value_or(0)), pointers + std::uint64_t{8} * key})) break;
  }
  unreadable.tell(walk, "per-CPU pointers are unreadable");
  return {};
}

}  // namespace floe::walkers::bpf
