// Storage that hangs off tasks, inodes, sockets and cgroups: struct bpf_local_storage_map, whose buckets hold one element per owner. The
// key shown is the owner's address; which kind of object that is, the map's type says.
#include "walkers/address_set.hpp"
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kMaxBucketLog = 24;  // the kernel takes log2 of twice the possible CPUs

class StorageWalk {
 public:
  StorageWalk(Walk& walk, const MapInfo& map, const StorageFields& fields) : walk_(walk), map_(map), fields_(fields) {
    element_.resize(
        std::max<std::size_t>({fields.data + std::size_t{map.value_size}, fields.next + 8u, fields.owner_link + 8u, fields.smap + 8u}));
  }

  Result<void> run() {
    const auto buckets = walk_.memory.get_pointer(map_.address, fields_.buckets);
    const auto log = walk_.memory.get_number(map_.address, fields_.bucket_log);
    if (!buckets || !log)
      return fail(fmt::format("bpf_local_storage_map.buckets is unreadable or null: {}", walk_.memory.explain(map_.address)));
    if (*log > kMaxBucketLog) return fail(fmt::format("bucket_log is {}, more than {}", *log, kMaxBucketLog));
    for (std::uint64_t i = 0; i < std::uint64_t{1} << *log; ++i) {
      if (!walk_.step()) break;
      const Kva head = *buckets + i * fields_.bucket_bytes + fields_.first;
      const auto first = walk_.memory.get<std::uint64_t>(head);
      if (!first)
        bad_buckets_.add([&] { return walk_.memory.explain(head); });
      else if (!walk_chain(*first))
        break;
    }
    bad_buckets_.tell(walk_, "buckets are unreadable");
    bad_links_.tell(walk_, "chains end at an unreadable element");
    loops_.tell(walk_, "chains loop");
    strays_.tell(walk_, "elements say that they are another map's");
    return {};
  }

 private:
  bool walk_chain(std::uint64_t link) {
    seen_.clear();
    while (link != 0) {
      if (!walk_.step()) return false;
      const Kva at(link);
      if (!seen_.insert(at)) {
        loops_.add([&] { return fmt::format("one comes back to {:#x}", at.value); });
        return true;
      }
      if (!walk_.memory.read_all(at, element_)) {
        bad_links_.add([&] { return walk_.memory.explain(at); });
        return true;
      }
      link = word(fields_.next);
      if (word(fields_.smap) != map_.address.value) {
        strays_.add([&] { return fmt::format("{:#x} of the map at {:#x}", at.value, word(fields_.smap)); });
        continue;
      }
      const auto storage = Kva(word(fields_.owner_link));
      const auto owner = storage ? walk_.memory.get<std::uint64_t>(storage + fields_.owner).value_or(0) : 0;
      const auto value = std::span<const std::byte>(element_).subspan(fields_.data, map_.value_size);
      if (!walk_.give({bytes_of(owner), value, {}, at + fields_.data})) return false;
    }
    return true;
  }

  std::uint64_t word(std::uint32_t offset) const {
    std::uint64_t value = 0;
    std::memcpy(&value, element_.data() + offset, sizeof value);
    return value;
  }

  Walk& walk_;
  const MapInfo& map_;
  const StorageFields& fields_;
  std::vector<std::byte> element_;
  AddressSet seen_;
  Losses bad_buckets_, bad_links_, loops_, strays_;
};

}  // namespace

Result<void> walk_local_storage(Walk& walk, const MapInfo& map) {
  if (!walk.layout.storage) return fail(walk.layout.storage.error());
  if (auto sane = check_sizes(map, false); !sane) return sane;
  return StorageWalk(walk, map, *walk.layout.storage).run();
}

}  // namespace floe::walkers::bpf
