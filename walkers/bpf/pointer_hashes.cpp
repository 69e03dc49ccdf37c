// Hashes whose values are the kernel's own objects: sockets by key (struct bpf_shtab), devices by index (struct bpf_dtab's dev_index_head).
// The value given is the 8-byte pointer.
#include "walkers/address_set.hpp"
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kMaxBuckets = std::uint64_t{1} << 31;

// Every node of `count` hlists, the heads `stride` apart.
template <class Visit>
void walk_hlists(Walk& walk, Kva heads, std::uint64_t count, std::uint64_t stride, Visit visit) {
  Losses unreadable, loops;
  AddressSet seen;
  const auto chain = [&](Kva head) {
    seen.clear();
    auto link = walk.memory.get<std::uint64_t>(head);
    if (!link) unreadable.add([&] { return walk.memory.explain(head); });
    while (link && *link != 0) {
      if (!walk.step()) return false;
      const Kva node(*link);
      if (!seen.insert(node)) {
        loops.add([&] { return fmt::format("one comes back to {:#x}", node.value); });
        return true;
      }
      link = walk.memory.get<std::uint64_t>(node);  // hlist_node.next
      if (!link)
        unreadable.add([&] { return walk.memory.explain(node); });
      else if (!visit(node))
        return false;
    }
    return true;
  };
  for (std::uint64_t i = 0; i < count; ++i)
    if (!walk.step() || !chain(heads + i * stride)) break;
  unreadable.tell(walk, "links are unreadable");
  loops.tell(walk, "chains loop");
}

Result<std::pair<Kva, std::uint64_t>> table_of(const Walk& walk, const MapInfo& map, std::uint32_t pointer, const Field& size) {
  const auto heads = walk.memory.get<std::uint64_t>(map.address + pointer);
  const auto count = walk.memory.get_number(map.address, size);
  if (!heads || !count || *heads == 0) return fail(fmt::format("its buckets are unreadable or null: {}", walk.memory.explain(map.address)));
  if (*count == 0 || *count > kMaxBuckets) return fail(fmt::format("it has {} buckets", *count));
  return std::pair(Kva(*heads), *count);
}

}  // namespace

Result<void> walk_sockhash(Walk& walk, const MapInfo& map) {
  if (!walk.layout.sock_hash) return fail(walk.layout.sock_hash.error());
  const SockHashFields& fields = *walk.layout.sock_hash;
  if (auto sane = check_sizes(map, true); !sane) return sane;
  const auto table = table_of(walk, map, fields.buckets, fields.n_buckets);
  if (!table) return fail(table.error());
  std::vector<std::byte> key(map.key_size);
  Losses unreadable;
  walk_hlists(walk, table->first + fields.first, table->second, fields.bucket_bytes, [&](Kva node) {
    const Kva element = node - fields.link;
    const auto sock = walk.memory.get<std::uint64_t>(element + fields.sk);
    if (sock && walk.memory.read_all(element + fields.key, key)) return walk.give({key, bytes_of(*sock), {}, element + fields.sk});
    unreadable.add([&] { return walk.memory.explain(element); });
    return true;
  });
  unreadable.tell(walk, "elements are unreadable");
  return {};
}

Result<void> walk_devmap_hash(Walk& walk, const MapInfo& map) {
  if (!walk.layout.dev_hash) return fail(walk.layout.dev_hash.error());
  const DevHashFields& fields = *walk.layout.dev_hash;
  const auto table = table_of(walk, map, fields.heads, fields.n_buckets);
  if (!table) return fail(table.error());
  Losses unreadable;
  walk_hlists(walk, table->first, table->second, sizeof(std::uint64_t), [&](Kva node) {
    const Kva element = node - fields.link;
    const auto index = walk.memory.get<std::uint32_t>(element + fields.index);
    if (index) return walk.give({bytes_of(*index), bytes_of(element.value), {}, element});
    unreadable.add([&] { return walk.memory.explain(element); });
    return true;
  });
  unreadable.tell(walk, "elements are unreadable");
  return {};
}

}  // namespace floe::walkers::bpf
