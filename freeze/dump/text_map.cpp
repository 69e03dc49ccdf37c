#include "freeze/dump/text_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "freeze/dump/text_percpu.hpp"
#include "freeze/dump/text_table.hpp"
#include "freeze/dump/text_value.hpp"
#include "walkers/bpf/maps.hpp"

namespace floe::freeze::dump {
namespace {

using namespace walkers::bpf;
using walkers::render::NamedValue;
using walkers::render::Struct;
using walkers::render::Value;

constexpr std::size_t kShownPcs = 8;
constexpr std::size_t kShownIndices = 16;

std::string hex(const std::vector<std::byte>& bytes) {
  return to_text(Value{walkers::render::Bytes{bytes}});
}

std::string key_text(const std::optional<Value>& key, const std::vector<std::byte>& bytes, int depth) {
  return key ? to_text(*key, depth) : hex(bytes) + " (raw)";
}

// The structs of one column group, when they all have one shape and hold scalars alone.
class Columns {
 public:
  bool add(const std::optional<Value>& value) {
    const auto* row = value ? std::get_if<Struct>(&value->v) : nullptr;
    if (row == nullptr || row->members.empty()) return false;
    if (rows_.empty()) {
      type_ = row->type_name;
    } else if (row->type_name != type_ || row->members.size() != rows_.front()->members.size()) {
      return false;
    }
    for (std::size_t i = 0; i < row->members.size(); ++i) {
      if (!is_scalar(row->members[i].value)) return false;
      if (!rows_.empty() && row->members[i].name != rows_.front()->members[i].name) return false;
    }
    rows_.push_back(row);
    return true;
  }
  const std::vector<NamedValue>& row(std::size_t i) const { return rows_[i]->members; }

 private:
  std::optional<std::string> type_;
  std::vector<const Struct*> rows_;
};

std::optional<std::string> entries_table(const std::vector<MapEntry>& entries) {
  if (entries.size() < 2) return std::nullopt;
  Columns keys, values;
  for (const MapEntry& entry : entries)
    if (entry.payload || !keys.add(entry.key) || !values.add(entry.value)) return std::nullopt;
  std::vector<std::string> header, before;
  for (const NamedValue& member : keys.row(0)) {
    before.emplace_back(header.empty() ? "" : "  ");
    header.push_back(clean(member.name));
  }
  const std::size_t key_columns = header.size();
  for (const NamedValue& member : values.row(0)) {
    before.emplace_back(header.size() == key_columns ? " | " : "  ");
    header.push_back(clean(member.name));
  }
  TextTable table(std::move(header), std::move(before));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    std::vector<std::string> row;
    for (const NamedValue& member : keys.row(i)) row.push_back(to_text(member.value));
    for (const NamedValue& member : values.row(i)) row.push_back(to_text(member.value));
    table.add(std::move(row));
  }
  return table.text(2);
}

std::string entries_text(const std::vector<MapEntry>& entries) {
  if (auto table = entries_table(entries)) return *table;
  std::string out;
  for (const MapEntry& entry : entries) {
    out += fmt::format("  entry: key={}\n", key_text(entry.key, entry.key_bytes, 1));
    out += fmt::format("    value: {}\n", key_text(entry.value, entry.value_bytes, 2));
    if (entry.payload) out += fmt::format("    .data {}\n", to_text(*entry.payload, 2));
  }
  return out;
}

std::string arena_text(const ArenaSnapshot& arena) {
  std::uint64_t bytes = 0;
  std::size_t non_zero = 0;
  for (const ArenaPage& page : arena.pages) {
    bytes += page.bytes.size();
    if (std::any_of(page.bytes.begin(), page.bytes.end(), [](std::byte b) { return b != std::byte{0}; })) ++non_zero;
  }
  std::string text = fmt::format("  arena: {} pages captured ({} KiB), {} non-zero (see sdt_alloc section + JSON for typed data)",
                                 arena.pages.size(), bytes / 1024, non_zero);
  if (arena.truncated) text += fmt::format(" (truncated, {} declared)", arena.declared_pages);
  return text + "\n";
}

std::string ringbuf_text(const Ringbuf& ring) {
  const auto percent = ring.capacity == 0 ? 0 : static_cast<unsigned __int128>(ring.pending_bytes) * 100 / ring.capacity;
  return fmt::format("  ringbuf: capacity={}B, pending={}B ({}%), consumer_pos={}, producer_pos={}, pending_pos={}\n", ring.capacity,
                     ring.pending_bytes, percent > 100 ? 100u : static_cast<unsigned>(percent), ring.consumer_pos, ring.producer_pos,
                     ring.pending_pos);
}

std::string stack_trace_text(const StackTrace& stacks) {
  std::string out = fmt::format("  stack_trace: {} of {} buckets populated", stacks.entries.size(), stacks.n_buckets);
  if (stacks.truncated) out += " (truncated)";
  if (stacks.buckets_unreadable) out += fmt::format(" ({} unreadable)", stacks.buckets_unreadable);
  out += '\n';
  for (const StackTraceEntry& entry : stacks.entries) {
    out += fmt::format("    bucket {}: nr={}", entry.bucket_id, entry.nr);
    if (!entry.pcs.empty()) {
      std::string pcs;
      for (std::size_t i = 0; i < std::min(entry.pcs.size(), kShownPcs); ++i) {
        const bool named = i < entry.symbols.size() && !entry.symbols[i].empty();
        pcs += fmt::format("{}{:#x}{}", i ? ", " : "", entry.pcs[i], named ? " " + clean(entry.symbols[i]) : "");
      }
      if (entry.pcs.size() > kShownPcs) pcs += fmt::format(", +{} more", entry.pcs.size() - kShownPcs);
      out += fmt::format(" pcs=[{}]", pcs);
    }
    out += '\n';
  }
  return out;
}

std::string fd_array_text(const FdArray& slots) {
  std::string out = fmt::format("  fd_array: {} of {} slots populated", slots.populated, slots.scanned);
  if (slots.truncated) out += " (slots truncated)";
  if (slots.unreadable) out += fmt::format(" ({} unreadable)", slots.unreadable);
  if (!slots.indices.empty()) {
    const std::size_t shown = std::min(slots.indices.size(), kShownIndices);
    out += fmt::format(" indices=[{}", fmt::join(slots.indices.begin(), slots.indices.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
    if (slots.indices.size() > shown) out += fmt::format(", +{} more", slots.indices.size() - shown);
    out += ']';
  }
  return out + "\n";
}

}  // namespace

std::string map_type_name(std::uint32_t type) {
  const auto name = to_string(MapType{type});
  return name.empty() ? std::to_string(type) : std::string(name);
}

std::string to_text(const Map& map) {
  std::string out = fmt::format("map {} (type={}, value_size={}, max_entries={})", clean(map.name), map_type_name(map.map_type),
                                map.value_size, map.max_entries);
  if (map.error) out += fmt::format(" [error: {}]", clean(*map.error));
  out += '\n';
  if (map.value) out += fmt::format("  {}\n", map.value_text ? fmt::format("\"{}\"", clean(*map.value_text)) : to_text(*map.value, 1));
  out += entries_text(map.entries);
  for (const ArrayEntry& entry : map.array_entries)
    out += fmt::format("  key {}: {}\n", entry.key, entry.value ? to_text(*entry.value, 1) : "<unreadable>");
  for (const PercpuEntry& entry : map.percpu_entries) out += percpu_text(fmt::format("key {}", entry.key), entry.per_cpu, 1);
  for (const PercpuHashEntry& entry : map.percpu_hash_entries)
    out += fmt::format("  entry: key={}\n", key_text(entry.key, entry.key_bytes, 1)) + percpu_lines(entry.per_cpu, 2);
  if (map.arena) out += arena_text(*map.arena);
  if (map.ringbuf) out += ringbuf_text(*map.ringbuf);
  if (map.stack_trace) out += stack_trace_text(*map.stack_trace);
  if (map.fd_array) out += fd_array_text(*map.fd_array);
  out.pop_back();
  return out;
}

std::string to_text(const SdtAllocator& allocator) {
  std::string out = fmt::format("sdt_alloc {} (elem_size={}, target_type_id={}", clean(allocator.allocator_name), allocator.elem_size,
                                allocator.target_type_id);
  if (!allocator.payload_type_reason.empty()) out += fmt::format(", reason={}", clean(allocator.payload_type_reason));
  out += fmt::format("): {} live", allocator.entries.size());
  if (allocator.truncated) out += " (truncated)";
  if (allocator.skipped_subtrees) out += fmt::format(" ({} subtrees skipped)", allocator.skipped_subtrees);
  for (const SdtAllocEntry& slot : allocator.entries) out += fmt::format("\n{}{}", indent(2), to_text(slot.payload, 2));
  return out;
}

std::string to_text(const SdtAllocEntry& slot) {
  return fmt::format("idx={} genn={} user_addr={:#x} payload={}", slot.idx, slot.genn, slot.user_addr, to_text(slot.payload));
}

std::string to_text(const ScxStatic& statics) {
  std::string out;
  for (const ScxStaticRange& range : statics.ranges)
    out += fmt::format("{}scx_static {} [{:#x}..{:#x}) cap={}", out.empty() ? "" : "\n", clean(range.instance_name), range.start_low32,
                       std::uint64_t{range.start_low32} + range.size, range.capacity);
  if (statics.skipped) out += fmt::format("{}scx_static: {} instance(s) skipped", out.empty() ? "" : "\n", statics.skipped);
  return out.empty() ? "scx_static: <none>" : out;
}

}  // namespace floe::freeze::dump
