// Longest-prefix tries: struct lpm_trie, a binary tree of nodes of which those marked LPM_TREE_NODE_FLAG_IM only branch. A node's data are
// the bytes of the key behind its prefix length, and the value right after them; the key is given as user space writes it, prefix length
// first. A child's prefix is longer than its parent's, so a walk that insists on it ends.
#include "walkers/bpf/walk.hpp"

namespace floe::walkers::bpf {

Result<void> walk_lpm_trie(Walk& walk, const MapInfo& map) {
  if (!walk.layout.trie) return fail(walk.layout.trie.error());
  const TrieFields& fields = *walk.layout.trie;
  if (auto sane = check_sizes(map, true); !sane) return sane;
  constexpr std::size_t kPrefixBytes = sizeof(std::uint32_t);
  if (map.key_size <= kPrefixBytes) return fail(fmt::format("key_size is {}, no more than the prefix length alone", map.key_size));
  const std::size_t data_bytes = map.key_size - kPrefixBytes;
  constexpr std::uint32_t kIntermediate = 1;

  const auto root = walk.memory.get<std::uint64_t>(map.address + fields.root);
  if (!root) return fail(fmt::format("lpm_trie.root is unreadable: {}", walk.memory.explain(map.address + fields.root)));

  struct Pending {
    std::uint64_t node;
    std::int64_t parent_prefix;
  };
  std::vector<Pending> pending = {{*root, -1}};  // no longer than a prefix has bits
  std::vector<std::byte> key(map.key_size), value(map.value_size);
  Losses unreadable, wrong_order;
  while (!pending.empty()) {
    const auto [address, parent_prefix] = pending.back();
    pending.pop_back();
    if (address == 0) continue;
    if (!walk.step()) break;
    const Kva node(address);
    const auto prefix = walk.memory.get<std::uint32_t>(node + fields.prefixlen);
    const auto flags = walk.memory.get<std::uint32_t>(node + fields.flags);
    const auto left = walk.memory.get<std::uint64_t>(node + fields.children);
    const auto right = walk.memory.get<std::uint64_t>(node + fields.children + 8);
    if (!prefix || !flags || !left || !right) {
      unreadable.add([&] { return walk.memory.explain(node); });
      continue;
    }
    if (std::int64_t{*prefix} <= parent_prefix || *prefix > data_bytes * 8) {
      wrong_order.add([&] { return fmt::format("{:#x} with {} bits below {}", address, *prefix, parent_prefix); });
      continue;
    }
    pending.push_back({*right, *prefix});
    pending.push_back({*left, *prefix});
    if ((*flags & kIntermediate) != 0) continue;
    std::memcpy(key.data(), &*prefix, kPrefixBytes);
    const Kva data = node + fields.data;
    if (!walk.memory.read_all(data, std::span(key).subspan(kPrefixBytes)) || !walk.memory.read_all(data + data_bytes, value)) {
      unreadable.add([&] { return walk.memory.explain(data); });
      continue;
    }
    if (!walk.give({key, value, {}, data + data_bytes})) break;
  }
  unreadable.tell(walk, "nodes are unreadable");
  wrong_order.tell(walk, "nodes have a prefix that does not fit below their parent's");
  return {};
}

}  // namespace floe::walkers::bpf
