#include "walkers/bpf/arena_index.hpp"

#include <algorithm>
#include <utility>

namespace floe::walkers::bpf {

void ArenaIndex::add(const SdtPool& pool) {
  if (pool.elem_size < kSmallestSlot || pool.elem_size > kLargestSlot) return;
  const auto number = static_cast<std::uint32_t>(pools_.size());
  pools_.push_back({pool.name, pool.elem_size, pool.header_bytes, pool.payload});
  for (const auto& slot : pool.slots) slots_.push_back({static_cast<std::uint32_t>(slot.user_address), number});
  // Of two that say they begin at one place the first stays.
  std::sort(slots_.begin(), slots_.end(),
            [](const Slot& a, const Slot& b) { return std::pair(a.start, a.pool) < std::pair(b.start, b.pool); });
  slots_.erase(std::unique(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) { return a.start == b.start; }), slots_.end());
}

const ArenaIndex::Slot* ArenaIndex::find(std::uint64_t user_address) const {
  const auto low = static_cast<std::uint32_t>(user_address);
  auto at = std::upper_bound(slots_.begin(), slots_.end(), low, [](std::uint32_t wanted, const Slot& slot) { return wanted < slot.start; });
  if (at == slots_.begin()) return nullptr;
  --at;
  return low - at->start < pools_[at->pool].elem_size ? &*at : nullptr;
}

bool ArenaIndex::is_listed(std::uint64_t user_address) const {
  const Slot* slot = find(user_address);
  if (slot == nullptr || pools_[slot->pool].payload.id == 0) return false;
  const std::uint32_t offset = static_cast<std::uint32_t>(user_address) - slot->start;
  return offset == 0 || offset == pools_[slot->pool].header_bytes;
}

std::optional<render::ArenaSlot> ArenaIndex::slot(std::uint64_t user_address) const {
  const Slot* slot = find(user_address);
  if (slot == nullptr) return std::nullopt;
  const Pool& pool = pools_[slot->pool];
  return render::ArenaSlot{static_cast<std::uint32_t>(user_address) - slot->start, pool.header_bytes, pool.payload};
}

const ArenaIndex::Pool* ArenaIndex::pool_for(std::string_view map_name) const {
  if (pools_.size() == 1) return &pools_.front();
  const Pool* best = nullptr;
  for (const auto& pool : pools_) {
    const auto stem = allocator_stem(pool.name);
    if (stem.empty() || map_name.find(stem) == map_name.npos) continue;
    if (best == nullptr || stem.size() > allocator_stem(best->name).size()) best = &pool;
  }
  return best;
}

std::optional<render::TypeRef> ArenaIndex::sole_payload() const {
  const auto typed = [](const Pool& pool) { return pool.payload.id != 0; };
  const auto first = std::find_if(pools_.begin(), pools_.end(), typed);
  if (first == pools_.end() || std::any_of(first + 1, pools_.end(), typed)) return std::nullopt;
  return first->payload;
}

bool ArenaIndex::is_untyped(std::uint64_t user_address) const {
  const auto low = static_cast<std::uint32_t>(user_address);
  return std::any_of(areas_.begin(), areas_.end(),
                     [low](const auto& area) { return low - area.start_low32 < area.size && low >= area.start_low32; });
}

std::optional<render::TypeRef> ArenaIndex::complete_type(std::string_view name, bool is_union) const {
  for (const auto& types : tables_)
    if (const auto id = types->find(name, is_union)) return render::TypeRef{types, *id};
  return std::nullopt;
}

}  // namespace floe::walkers::bpf
