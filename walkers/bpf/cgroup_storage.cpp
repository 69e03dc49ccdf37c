// The storage of cgroups that preceded cgrp_storage: struct bpf_cgroup_storage_map lists one bpf_cgroup_storage per cgroup and attach type,
// each with a buffer, or one per CPU. The key is as the kernel keeps it (cgroup inode, attach type), cut to the map's key size.
#include "walkers/address_set.hpp"
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {

Result<void> walk_cgroup_storage(Walk& walk, const MapInfo& map) {
  if (!walk.layout.cgroup_storage) return fail(walk.layout.cgroup_storage.error());
  const CgroupStorageFields& fields = *walk.layout.cgroup_storage;
  if (auto sane = check_sizes(map, true); !sane) return sane;
  const bool per_cpu = map.type == MapType::percpu_cgroup_storage;
  PerCpuValues values;
  if (per_cpu) {
    auto made = PerCpuValues::make(walk, map.value_size);
    if (!made) return fail(made.error());
    values = std::move(*made);
  }
  const Kva head = map.address + fields.list;
  std::vector<std::byte> key(map.key_size), value(map.value_size);
  AddressSet seen;
  Losses unreadable;
  auto link = walk.memory.get<std::uint64_t>(head);
  while (link && Kva(*link) != head) {
    if (!walk.step()) return {};
    const Kva node(*link);
    if (!seen.insert(node)) {
      walk.miss(fmt::format("its list comes back to {:#x} instead of its head", node.value));
      return {};
    }
    link = walk.memory.get<std::uint64_t>(node);  // list_head.next
    const Kva storage = node - fields.link;
    const auto buffer = walk.memory.get<std::uint64_t>(storage + fields.buffer);
    if (!buffer || !walk.memory.read_all(storage + fields.key, key)) {
      unreadable.add([&] { return walk.memory.explain(storage); });
      continue;
    }
    const Kva data = Kva(*buffer) + fields.data;
    const bool readable = !per_cpu && walk.memory.read_all(data, value);
    if (!per_cpu && !readable) unreadable.add([&] { return walk.memory.explain(data); });
    Element element{key, std::nullopt, {}, per_cpu ? storage + fields.buffer : data};
    if (per_cpu)
      element.per_cpu = values.read(walk, *buffer);
    else if (readable)
      element.value = value;
    if (!walk.give(element)) return {};
  }
  if (!link) walk.miss("its list leads to an unreadable node");
  unreadable.tell(walk, "storages are unreadable");
  return {};
}

}  // namespace floe::walkers::bpf
