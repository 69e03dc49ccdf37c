// struct_ops maps: one value, the kernel's own copy of the operations (bpf_struct_ops_map.kvalue, the part behind its common header), whose
// function pointers are the trampolines' addresses.
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {

Result<void> walk_struct_ops(Walk& walk, const MapInfo& map) {
  if (!walk.layout.struct_ops) return fail(walk.layout.struct_ops.error());
  const StructOpsFields& fields = *walk.layout.struct_ops;
  if (auto sane = check_sizes(map, false); !sane) return sane;
  // value_size is that of the wrapper, struct bpf_struct_ops_<name>: header and operations.
  if (map.value_size <= fields.data)
    return fail(fmt::format("value_size {} leaves nothing behind the {} bytes of the header", map.value_size, fields.data));
  std::vector<std::byte> value(map.value_size - fields.data);
  const Kva at = map.address + fields.kvalue + fields.data;
  if (!walk.memory.read_all(at, value)) return walk.memory.unreadable(at, value.size(), "kvalue.data");
  if (walk.step()) walk.give({{}, value, {}, at});
  return {};
}

}  // namespace floe::walkers::bpf
