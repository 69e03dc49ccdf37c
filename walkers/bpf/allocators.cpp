#include "walkers/bpf/allocators.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "walkers/address_set.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint32_t kFanOut = 512;
constexpr int kLeafLevel = 2;
constexpr std::uint32_t kMaxIdProbe = 100'000;
constexpr std::uint32_t kMaxOffset = 1 << 20;  // of any member here; BTF is the guest's

struct Fields {
  std::uint32_t elem_size = 0, root = 0;                // in scx_allocator
  std::uint32_t allocated = 0, nr_free = 0, chunk = 0;  // in sdt_desc
  std::uint32_t descs = 0, data = 0;                    // in sdt_chunk
  std::uint32_t header = 8;                             // sizeof(sdt_data)
  std::uint32_t desc_bytes = 0;

  static Result<Fields> resolve(const render::TypeTable& types) {
    Fields f;
    std::string missing;
    const auto need = [&](std::string_view struct_name, std::string_view member) {
      const auto offset = member_offset(types, struct_name, member);
      if ((!offset || *offset > kMaxOffset) && missing.empty()) missing = fmt::format("{}.{}", struct_name, member);
      return offset.value_or(0);
    };
    f.elem_size = need("scx_allocator", "pool") + need("sdt_pool", "elem_size");
    f.root = need("scx_allocator", "root");
    f.allocated = need("sdt_desc", "allocated");
    f.nr_free = need("sdt_desc", "nr_free");
    f.chunk = need("sdt_desc", "chunk");
    if (!missing.empty()) return fail(fmt::format("the program's BTF has no {}", missing));
    // Where only declared, as they may be: both arrays begin the union, and the header is two numbers of 4 bytes.
    f.descs = std::min(member_offset(types, "sdt_chunk", "descs").value_or(0), kMaxOffset);
    f.data = std::min(member_offset(types, "sdt_chunk", "data").value_or(0), kMaxOffset);
    const auto header = types.find("sdt_data");
    if (const auto bytes = header ? types.size(*header) : std::nullopt; bytes && *bytes >= 8 && *bytes <= kLargestSlot)
      f.header = static_cast<std::uint32_t>(*bytes);
    f.desc_bytes = std::max<std::uint32_t>({f.allocated + kFanOut / 8, f.nr_free + 8, f.chunk + 8});
    return f;
  }
};

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint64_t value = 0;
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

class TreeWalk {
 public:
  TreeWalk(const Arena& arena, const KernelMemory& memory, const Fields& fields, std::uint64_t most, WalkBudget& budget, SdtPool& pool)
      : arena_(arena), memory_(memory), fields_(fields), most_(most), budget_(budget), pool_(pool), desc_(fields.desc_bytes) {}

  // A descriptor and what is below it; false when the walk is over.
  bool walk(std::uint64_t desc, int level) {
    if (!step()) return false;
    if (!seen_.insert(Kva(desc)) || arena_.read(memory_, desc, desc_) != desc_.size()) return skip();
    std::array<std::uint64_t, kFanOut / 64> allocated;
    std::memcpy(allocated.data(), desc_.data() + fields_.allocated, sizeof allocated);
    const std::uint64_t chunk = word_at(desc_, fields_.chunk);
    if (word_at(desc_, fields_.nr_free) > kFanOut || chunk == 0) return skip();
    std::array<std::uint64_t, kFanOut> children;
    const auto at = chunk + (level == kLeafLevel ? fields_.data : fields_.descs);
    if (arena_.read(memory_, at, std::as_writable_bytes(std::span(children))) != sizeof children) return skip();
    for (std::uint64_t i = 0; i < kFanOut; ++i) {
      if (children[i] == 0) continue;
      if (level < kLeafLevel ? !walk(children[i], level + 1) : ((allocated[i / 64] >> (i % 64)) & 1) != 0 && !slot(children[i]))
        return false;
    }
    return true;
  }

 private:
  bool slot(std::uint64_t address) {
    if (!step()) return false;
    if (!slots_.insert(Kva(static_cast<std::uint32_t>(address)))) return true;
    if (most_ != 0 && pool_.slots.size() >= most_) {
      pool_.truncated = true;
      return false;
    }
    std::array<std::int32_t, 2> header{};
    // An unreadable slot is listed all the same; its payload says why nothing is shown.
    arena_.read(memory_, address, std::as_writable_bytes(std::span(header)));
    pool_.slots.push_back({header[0], header[1], address});
    return true;
  }

  bool step() {
    if (budget_.step()) return true;
    pool_.truncated = true;
    return false;
  }
  bool skip() {
    ++pool_.skipped_subtrees;
    return true;
  }

  const Arena& arena_;
  const KernelMemory& memory_;
  const Fields& fields_;
  std::uint64_t most_;
  WalkBudget& budget_;
  SdtPool& pool_;
  std::vector<std::byte> desc_;
  AddressSet seen_;   // descriptors
  AddressSet slots_;  // by the low half of their address
};

}  // namespace

Result<std::vector<SdtPool>> find_allocators(const Section& section, const Arena& arena, const KernelMemory& memory,
                                             const MapLimits& limits, WalkBudget& budget) {
  const auto fields = Fields::resolve(*section.types);
  if (!fields) return fail(fields.error());
  std::vector<SdtPool> pools;
  for (const auto& variable : variables_of(section, "scx_allocator")) {
    if (!variable.bytes) continue;
    SdtPool pool;
    pool.name = variable.name;
    pool.elem_size = word_at(*variable.bytes, fields->elem_size);
    pool.header_bytes = fields->header;
    const std::uint64_t root = word_at(*variable.bytes, fields->root);
    if (pool.elem_size >= kSmallestSlot && pool.elem_size <= kLargestSlot && pool.elem_size >= fields->header) {
      auto type = payload_type(*section.types, variable.name, pool.elem_size - fields->header);
      pool.payload = {section.types, type.id};
      pool.payload_reason = std::move(type.reason);
      if (root != 0) TreeWalk(arena, memory, *fields, limits.allocator_slots, budget, pool).walk(root, 0);
    } else if (pool.elem_size != 0) {
      pool.payload_reason = fmt::format("elem_size {} is not between {} and {}", pool.elem_size, kSmallestSlot, kLargestSlot);
    }
    if (!pool.slots.empty() || pool.elem_size != 0) pools.push_back(std::move(pool));
  }
  return pools;
}

ScxStatic find_static_areas(const Section& section) {
  ScxStatic result;
  const auto max = member_offset(*section.types, "scx_static", "max_alloc_bytes");
  const auto memory = member_offset(*section.types, "scx_static", "memory");
  const auto off = member_offset(*section.types, "scx_static", "off");
  if (!max || !memory || !off) return result;
  for (const auto& variable : variables_of(section, "scx_static")) {
    const auto bytes = variable.bytes.value_or(std::span<const std::byte>{});
    const std::uint64_t capacity = word_at(bytes, *max), start = word_at(bytes, *memory), used = word_at(bytes, *off);
    if (capacity == 0 || capacity >= render::kArenaWindow || start == 0 || used > capacity)
      ++result.skipped;
    else
      result.ranges.push_back({variable.name, static_cast<std::uint32_t>(start), used, capacity});
  }
  return result;
}

std::string_view allocator_stem(std::string_view name) {
  constexpr std::string_view kEnd = "_allocator", kStart = "scx_";
  if (name.ends_with(kEnd)) name.remove_suffix(kEnd.size());
  if (name.starts_with(kStart)) name.remove_prefix(kStart.size());
  return name;
}

PayloadType payload_type(const render::TypeTable& types, std::string_view allocator, std::uint64_t payload_bytes) {
  if (payload_bytes == 0) return {0, "payload_size == 0"};
  std::vector<std::uint32_t> candidates;
  const std::uint32_t end =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(types.count(), std::uint64_t{types.first_own()} + kMaxIdProbe));
  for (std::uint32_t id = types.first_own(); id < end; ++id) {
    const auto* type = types.type(id);
    if (type != nullptr && btf_is_struct(type) && type->size == payload_bytes && !types.name(type->name_off).empty())
      candidates.push_back(id);
  }
  if (candidates.empty()) return {0, fmt::format("no candidate of size {}", payload_bytes)};
  if (candidates.size() == 1) return {candidates.front(), {}};

  const auto only = [&](auto matches) -> std::uint32_t {
    const auto first = std::find_if(candidates.begin(), candidates.end(), [&](auto id) { return matches(types.name_of(id)); });
    if (first == candidates.end()) return 0;
    return std::any_of(first + 1, candidates.end(), [&](auto id) { return matches(types.name_of(id)); }) ? 0 : *first;
  };
  const auto stem = allocator_stem(allocator);
  if (!stem.empty())
    if (const auto id = only([&](std::string_view name) { return name.find(stem) != name.npos; })) return {id, {}};
  if (const auto id = only([](std::string_view name) { return name == "task_ctx"; })) return {id, {}};
  for (const std::string_view suffix : {"_arena_ctx", "_task_ctx", "_ctx"})
    if (const auto id = only([&](std::string_view name) { return name.ends_with(suffix); })) return {id, {}};
  return {0, fmt::format("ambiguous: {} candidates", candidates.size())};
}

}  // namespace floe::walkers::bpf
