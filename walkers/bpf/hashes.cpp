// The hash family: struct bpf_htab, an array of buckets each with an hlist_nulls of elements. Free elements of a preallocated map and the
// spare one per CPU (extra_elems) are on no bucket, so they are not met. An element is its header, the key, and at the next multiple of 8
// the value, or a per-CPU pointer to it, or for a map of maps a pointer to the inner one.
//
// Elements carry the hash that decides their bucket (__select_bucket()): one that is met on another bucket's chain got there by a bent
// link, and is left out.
#include "walkers/address_set.hpp"
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kMaxBuckets = std::uint64_t{1} << 31;
constexpr std::uint64_t kAhead = 8;  // buckets

bool has_value_per_cpu(MapType type) {
  return type == MapType::percpu_hash || type == MapType::lru_percpu_hash;
}

class HashWalk {
 public:
  HashWalk(Walk& walk, const MapInfo& map, const HashFields& fields)
      : walk_(walk), map_(map), fields_(fields), per_cpu_(has_value_per_cpu(map.type)) {
    key_at_ = fields.key;
    value_at_ = key_at_ + round_up_8(map.key_size);
    value_bytes_ = per_cpu_ || map.type == MapType::hash_of_maps ? sizeof(std::uint64_t) : map.value_size;
    element_.resize(std::max({value_at_ + value_bytes_, fields.next + sizeof(std::uint64_t), fields.hash + sizeof(std::uint32_t)}));
  }

  Result<void> run() {
    const auto buckets = walk_.memory.get_pointer(map_.address, fields_.buckets);
    const auto count = walk_.memory.get_number(map_.address, fields_.n_buckets);
    if (!buckets || !count) return fail(fmt::format("bpf_htab.buckets is unreadable or null: {}", walk_.memory.explain(map_.address)));
    if (*count == 0 || *count > kMaxBuckets || (*count & (*count - 1)) != 0)
      return fail(fmt::format("n_buckets is {}, not a power of two", *count));
    if (per_cpu_) {
      auto values = PerCpuValues::make(walk_, map_.value_size);
      if (!values) return fail(values.error());
      values_ = std::move(*values);
    }
    n_buckets_ = *count;
    walk_buckets(*buckets);
    bad_buckets_.tell(walk_, "runs of buckets are unreadable");
    bad_links_.tell(walk_, "chains end at an unreadable element");
    loops_.tell(walk_, "chains loop");
    strays_.tell(walk_, "elements are on the chain of a bucket that is not theirs");
    return {};
  }

 private:
  // Bucket heads are read by the page: most are empty. Elements lie anywhere, so those of the buckets to come are fetched ahead: first the
  // one the bucket links to, and when that has come, the next one of its chain.
  void walk_buckets(Kva buckets) {
    const std::uint64_t at_once = std::max<std::uint64_t>(1, kPageBytes / fields_.bucket_bytes);
    std::vector<std::byte> heads(at_once * fields_.bucket_bytes);
    for (std::uint64_t first = 0; first < n_buckets_; first += at_once) {
      if (!walk_.step()) return;
      const std::uint64_t here = std::min(at_once, n_buckets_ - first);
      const Kva at = buckets + first * fields_.bucket_bytes;
      const std::size_t got = walk_.memory.read(at, std::span(heads).first(here * fields_.bucket_bytes)) / fields_.bucket_bytes;
      if (got < here)
        bad_buckets_.add([&] { return fmt::format("bucket {}, {}", first + got, walk_.memory.explain(at + got * fields_.bucket_bytes)); });
      const auto link_of = [&](std::uint64_t i) {
        std::uint64_t link = 0;
        std::memcpy(&link, heads.data() + i * fields_.bucket_bytes + fields_.first, sizeof link);
        return link;
      };
      for (std::uint64_t i = 0; i < std::min(got, 2 * kAhead); ++i) fetch(link_of(i));
      for (std::uint64_t i = 0; i < got; ++i) {
        if (i + 2 * kAhead < got) fetch(link_of(i + 2 * kAhead));
        if (i + kAhead < got) fetch_next(link_of(i + kAhead));
        if (!walk_chain(first + i, link_of(i))) return;
      }
    }
  }

  bool fetch(std::uint64_t link) const { return (link & 1) == 0 && link != 0 && walk_.memory.prefetch(Kva(link), element_.size()); }
  void fetch_next(std::uint64_t link) const {
    if (!fetch(link)) return;  // reading it now would be no gain
    if (const auto next = walk_.memory.get<std::uint64_t>(Kva(link) + fields_.next)) fetch(*next);
  }

  // Until the nulls marker, which is odd. A null pointer ends it too: a bucket that was never set up.
  bool walk_chain(std::uint64_t bucket, std::uint64_t link) {
    if ((link & 1) != 0 || link == 0) return true;
    seen_.clear();
    while ((link & 1) == 0 && link != 0) {
      if (!walk_.step()) return false;
      const Kva at(link);
      if (!seen_.insert(at)) {
        loops_.add([&] { return fmt::format("that of bucket {} comes back to {:#x}", bucket, link); });
        return true;
      }
      if (!walk_.memory.read_all(at, element_)) {
        bad_links_.add([&] { return fmt::format("bucket {}, {}", bucket, walk_.memory.explain(at)); });
        return true;
      }
      std::memcpy(&link, element_.data() + fields_.next, sizeof link);
      std::uint32_t hash = 0;
      std::memcpy(&hash, element_.data() + fields_.hash, sizeof hash);
      if ((hash & (n_buckets_ - 1)) != bucket) {
        strays_.add([&] { return fmt::format("{:#x} with hash {:#x} on bucket {}", at.value, hash, bucket); });
        continue;
      }
      if (!give(at)) return false;
    }
    return true;
  }

  bool give(Kva at) {
    const auto bytes = std::span<const std::byte>(element_);
    const auto key = bytes.subspan(key_at_, map_.key_size);
    const auto value = bytes.subspan(value_at_, value_bytes_);
    if (!per_cpu_) return walk_.give({key, value, {}, at + value_at_});
    std::uint64_t pointer = 0;
    std::memcpy(&pointer, value.data(), sizeof pointer);
    return walk_.give({key, std::nullopt, values_.read(walk_, pointer), at + value_at_});
  }

  Walk& walk_;
  const MapInfo& map_;
  const HashFields& fields_;
  bool per_cpu_;
  std::uint64_t n_buckets_ = 0;
  std::size_t key_at_ = 0, value_at_ = 0, value_bytes_ = 0;
  std::vector<std::byte> element_;
  PerCpuValues values_;
  AddressSet seen_;  // of one chain
  Losses bad_buckets_, bad_links_, loops_, strays_;
};

}  // namespace

Result<void> walk_hash(Walk& walk, const MapInfo& map) {
  if (!walk.layout.hash) return fail(walk.layout.hash.error());
  if (auto sane = check_sizes(map, true); !sane) return sane;
  return HashWalk(walk, map, *walk.layout.hash).run();
}

}  // namespace floe::walkers::bpf
