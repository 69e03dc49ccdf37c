// Resizable hashes: struct bpf_rhtab over an rhashtable. While one is being resized its elements are spread over the old table and those
// chained by future_tbl. A bucket word carries a lock in bit 0; a chain ends at an odd link (include/linux/rhashtable.h).
#include "walkers/bpf/walk.hpp"
#include "walkers/visited.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kMaxBuckets = std::uint64_t{1} << 31;
constexpr int kMaxTables = 8;  // a resize makes one; a resize during it another

class RhashWalk {
 public:
  RhashWalk(Walk& walk, const MapInfo& map, const RhashFields& fields)
      : walk_(walk), fields_(fields), key_size_(map.key_size), element_(round_up_8(map.key_size) + map.value_size) {}

  Result<void> run(const MapInfo& map) {
    auto table = walk_.memory.get<std::uint64_t>(map.address + fields_.table);
    if (table && *table != 0) resizing_ = walk_.memory.get<std::uint64_t>(Kva(*table) + fields_.future).value_or(0) != 0;
    for (int i = 0; table && *table != 0 && i < kMaxTables; ++i) {
      if (auto walked = walk_table(Kva(*table)); !walked) return walked;
      table = walk_.memory.get<std::uint64_t>(Kva(*table) + fields_.future);
    }
    if (!table) return fail(fmt::format("the bucket table is unreadable: {}", walk_.memory.explain(map.address)));
    unreadable_.tell(walk_, "elements are unreadable");
    loops_.tell(walk_, "elements are met twice");
    return {};
  }

 private:
  Result<void> walk_table(Kva table) {
    const auto size = walk_.memory.get<std::uint32_t>(table + fields_.size);
    const auto nest = walk_.memory.get<std::uint32_t>(table + fields_.nest);
    if (!size || !nest) return fail(fmt::format("the bucket table is unreadable: {}", walk_.memory.explain(table)));
    if (*size == 0 || *size > kMaxBuckets || (*size & (*size - 1)) != 0) return fail(fmt::format("the bucket table has {} buckets", *size));
    if (*nest == 0) {
      walk_buckets(table + fields_.buckets, *size);
      return {};
    }
    // Where memory was short the table is a tree of pages: the first one holds 2^nest slots, every other a page of them.
    const auto top = walk_.memory.get<std::uint64_t>(table + fields_.buckets);
    if (!top) return fail(fmt::format("the nested bucket table is unreadable: {}", walk_.memory.explain(table + fields_.buckets)));
    if (*nest >= 32 || *size >> *nest == 0) return fail(fmt::format("the bucket table of {} is nested by {}", *size, *nest));
    walk_nested(Kva(*top), std::uint64_t{1} << *nest, *size >> *nest);
    return {};
  }

  // `slots` pointers at `page`, each to a page that holds, or leads to, `below` buckets.
  bool walk_nested(Kva page, std::uint64_t slots, std::uint64_t below) {
    constexpr std::uint64_t kPerPage = kPageBytes / 8;
    for (std::uint64_t i = 0; i < slots; ++i) {
      if (!walk_.step()) return false;
      const auto next = walk_.memory.get<std::uint64_t>(page + 8 * i);
      if (!next) unreadable_.add([&] { return walk_.memory.explain(page + 8 * i); });
      if (!next || *next == 0) continue;
      if (!(below <= kPerPage ? walk_buckets(Kva(*next), below) : walk_nested(Kva(*next), kPerPage, below / kPerPage))) return false;
    }
    return true;
  }

  bool walk_buckets(Kva buckets, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      if (!walk_.step()) return false;
      auto link = walk_.memory.get<std::uint64_t>(buckets + 8 * i);
      if (!link) unreadable_.add([&] { return walk_.memory.explain(buckets + 8 * i); });
      if (link) *link &= ~std::uint64_t{1};
      if (!resizing_) seen_.clear();
      while (link && *link != 0 && (*link & 1) == 0) {
        if (!walk_.step()) return false;
        const Kva node(*link);
        if (!seen_.insert(node)) {
          loops_.add([&] { return fmt::format("{:#x}", node.value); });
          break;
        }
        link = walk_.memory.get<std::uint64_t>(node + fields_.next);
        if (!give(node - fields_.node)) return false;
      }
    }
    return true;
  }

  bool give(Kva element) {
    const Kva data = element + fields_.data;
    if (!walk_.memory.read_all(data, element_)) {
      unreadable_.add([&] { return walk_.memory.explain(data); });
      return true;
    }
    const auto bytes = std::span<const std::byte>(element_);
    const auto value_at = round_up_8(key_size_);
    return walk_.give({bytes.first(key_size_), bytes.subspan(value_at), {}, data + value_at});
  }

  Walk& walk_;
  const RhashFields& fields_;
  std::size_t key_size_;
  std::vector<std::byte> element_;
  Visited seen_;  // of one chain; of all while resizing, when an element may for a moment be on the old and the new table's
  bool resizing_ = false;
  Losses unreadable_, loops_;
};

}  // namespace

Result<void> walk_rhash(Walk& walk, const MapInfo& map) {
  if (!walk.layout.rhash) return fail(walk.layout.rhash.error());
  if (auto sane = check_sizes(map, true); !sane) return sane;
  return RhashWalk(walk, map, *walk.layout.rhash).run(map);
}

}  // namespace floe::walkers::bpf
