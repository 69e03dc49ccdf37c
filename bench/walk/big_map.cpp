#include "bench/walk/big_map.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

namespace floe::bench {
namespace {

struct MapTypes {
  int fd = -1;  // of the loaded BTF
  int key = 0, value = 0;
};

MapTypes load_types() {
  MapTypes types;
  btf* const built = ::btf__new_empty();
  if (built == nullptr) return types;
  types.key = ::btf__add_int(built, "unsigned int", 4, 0);
  const int wide = ::btf__add_int(built, "unsigned long long", 8, 0);
  types.value = ::btf__add_struct(built, "walk_sample", sizeof(WalkSample));
  ::btf__add_field(built, "runtime_ns", wide, 8 * offsetof(WalkSample, runtime_ns), 0);
  ::btf__add_field(built, "cpu", types.key, 8 * offsetof(WalkSample, cpu), 0);
  ::btf__add_field(built, "wakeups", types.key, 8 * offsetof(WalkSample, wakeups), 0);
  if (::btf__load_into_kernel(built) == 0) types.fd = ::dup(::btf__fd(built));
  ::btf__free(built);
  return types;
}

}  // namespace

int make_big_map(std::uint32_t entries) {
  const MapTypes types = load_types();
  if (types.fd < 0) return -errno;
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.btf_fd = static_cast<std::uint32_t>(types.fd);
  options.btf_key_type_id = static_cast<std::uint32_t>(types.key);
  options.btf_value_type_id = static_cast<std::uint32_t>(types.value);
  const int map = ::bpf_map_create(BPF_MAP_TYPE_HASH, kBigMapName, sizeof(std::uint32_t), sizeof(WalkSample), entries, &options);
  const int why = errno;
  ::close(types.fd);
  if (map < 0) return -why;
  std::vector<std::uint32_t> keys(entries);
  std::vector<WalkSample> samples(entries);
  for (std::uint32_t key = 0; key < entries; ++key) {
    keys[key] = key;
    samples[key] = {key * std::uint64_t{1'000'003}, key % 64, key * 7};
  }
  std::uint32_t count = entries;
  if (::bpf_map_update_batch(map, keys.data(), samples.data(), &count, nullptr) != 0) {
    const int refused = errno;
    ::close(map);
    return -refused;
  }
  return map;
}

}  // namespace floe::bench
