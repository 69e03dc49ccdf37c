// Resizable hashes: struct bpf_rhtab over an rhashtable.
#include "walkers/bpf/walk.hpp"
#include "walkers/rhashtable.hpp"

namespace floe::walkers::bpf {

Result<void> walk_rhash(Walk& walk, const MapInfo& map) {
  if (!walk.layout.rhash) return fail(walk.layout.rhash.error());
  const RhashFields& fields = *walk.layout.rhash;
  if (auto sane = check_sizes(map, true); !sane) return sane;
  const auto value_at = round_up_8(map.key_size);
  std::vector<std::byte> element(value_at + map.value_size);
  const auto bytes = std::span<const std::byte>(element);
  Losses unreadable;
  const auto walked = walk_rhashtable(walk.memory, fields.in, map.address + fields.table, walk.budget, [&](Kva head) {
    const Kva data = head - fields.node + fields.data;
    if (walk.memory.read_all(data, element)) return walk.give({bytes.first(map.key_size), bytes.subspan(value_at), {}, data + value_at});
    unreadable.add([&] { return walk.memory.explain(data); });
    return true;
  });
  for (const auto& problem : walked.problems) walk.miss(problem);
  unreadable.tell(walk, "elements are unreadable");
  return {};
}

}  // namespace floe::walkers::bpf
