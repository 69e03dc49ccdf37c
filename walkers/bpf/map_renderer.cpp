#include "walkers/bpf/map_renderer.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "walkers/bpf/layout.hpp"
#include "walkers/bpf/section.hpp"
#include "walkers/render/json_sink.hpp"

namespace floe::walkers::bpf {
namespace {

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

void add_note(Map& out, std::string_view note) {
  if (note.empty()) return;
  if (!out.error) out.error.emplace();
  if (!out.error->empty()) *out.error += "; ";
  *out.error += note;
}

bool is_local_storage(MapType type) {
  return type == MapType::task_storage || type == MapType::inode_storage || type == MapType::sk_storage || type == MapType::cgrp_storage;
}

bool has_value_per_cpu(MapType type) {
  return type == MapType::percpu_hash || type == MapType::lru_percpu_hash || type == MapType::percpu_cgroup_storage;
}

// A limit as a number of bytes: 0 is none.
std::uint64_t bound(std::uint64_t limit) {
  return limit != 0 ? limit : std::numeric_limits<std::uint64_t>::max();
}

// String literals of a program; libbpf names the map after the ELF section, which the linker made of mergeable strings.
bool holds_strings(const MapInfo& map) {
  return map.type == MapType::array && map.name.find(".rodata.str") != std::string::npos;
}

std::string printable(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    if (c >= 0x20 && c < 0x7f && c != '\\')
      text += static_cast<char>(c);
    else
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", c);
  }
  return text;
}

// Hashes whose values are kernel pointers.
bool is_pointer_hash(MapType type) {
  return type == MapType::hash_of_maps || type == MapType::sockhash || type == MapType::devmap_hash;
}

}  // namespace

// Counts what is taken of a map against what its dump, and that of all maps, may hold.
class MapRenderer::Taking {
 public:
  Taking(MapRenderer& renderer, std::uint64_t most_elements)
      : most_(most_elements),
        left_(std::min(bound(renderer.options_.limits.bytes), renderer.bytes_left_)),
        left_of_all_(renderer.bytes_left_) {}

  bool may(std::uint64_t bytes) {
    if ((most_ != 0 && taken_ >= most_) || bytes > left_) {
      full_ = true;
      return false;
    }
    ++taken_;
    left_ -= bytes;
    left_of_all_ -= bytes;
    return true;
  }

  void tell(Map& out, const Walked& walked, std::string_view what) const {
    if (full_) add_note(out, fmt::format("truncated at {} {}, max_entries is {}", taken_, what, out.max_entries));
    for (const auto& note : walked.notes) add_note(out, note);
  }

 private:
  std::uint64_t most_, left_;
  std::uint64_t& left_of_all_;
  std::uint64_t taken_ = 0;
  bool full_ = false;
};

MapRenderer::MapRenderer(const MapReader& reader, const ArenaIndex& index, render::ProgramTypes& types, const DumpOptions& options)
    : reader_(reader),
      index_(index),
      program_types_(types),
      options_(options),
      cpus_(reader.kernel().cpu_count().value_or(64)),
      bytes_left_(bound(options.limits.total_bytes)) {}

render::Renderer& MapRenderer::renderer(const std::shared_ptr<const render::TypeTable>& types) {
  auto& found = renderers_[types.get()];
  if (!found)
    found = std::make_unique<render::Renderer>(types, render::RenderOptions{.cpus = cpus_,
                                                                            .max_elements = options_.limits.array_elements,
                                                                            .pointers = &index_,
                                                                            .casts = options_.casts ? options_.casts(*types) : nullptr,
                                                                            .kernel_types = program_types_.kernel(),
                                                                            .deadline = options_.deadline});
  return *found;
}

render::Value MapRenderer::value(const render::TypeRef& type, std::span<const std::byte> bytes, std::uint64_t address) {
  if (type.id == 0 || !type.types) return {render::Bytes{copy_of(bytes)}};
  return renderer(type.types).value(type.id, bytes, address);
}

// A program's BTF where the map has one, the kernel's where it has none; never the kernel's in place of one that cannot be read, for ids
// would mean other types there.
MapRenderer::Types MapRenderer::types_of(const MapInfo& map) {
  Types types;
  if (map.type == MapType::struct_ops) {
    // struct bpf_struct_ops_<name>, of which the operations are the member `data`.
    const auto& kernel = program_types_.kernel();
    const auto* wrapper = kernel->type(map.btf_vmlinux_value_type_id);
    if (map.btf_vmlinux_value_type_id != 0 && wrapper != nullptr && btf_is_struct(wrapper))
      for (std::uint32_t i = 0; i < btf_vlen(wrapper); ++i)
        if (kernel->name(btf_members(wrapper)[i].name_off) == "data") types.value = {kernel, btf_members(wrapper)[i].type};
    if (types.value.id == 0)
      types.problem = fmt::format("btf_vmlinux_value_type_id {} is no wrapper of operations", map.btf_vmlinux_value_type_id);
    return types;
  }
  if (!map.btf) {
    types.key = {program_types_.kernel(), map.btf_key_type_id};
    types.value = {program_types_.kernel(), map.btf_value_type_id};
    return types;
  }
  const auto table = program_types_.at(reader_.kernel().memory(), *map.btf);
  if (!table) {
    types.problem = table.error().message;
    return types;
  }
  types.key = {*table, map.btf_key_type_id};
  types.value = {*table, map.btf_value_type_id};
  return types;
}

// As many steps as a sound map of that size can need, and some: a table has about as many buckets as entries.
WalkBudget MapRenderer::budget_for(const MapInfo& map) const {
  return WalkBudget(std::uint64_t{1'000'000} + std::uint64_t{4} * map.max_entries, options_.deadline);
}

Map MapRenderer::render(const MapInfo& map) {
  Map out;
  out.name = map.name;
  out.map_kva = map.address.value;
  out.map_type = static_cast<std::uint32_t>(map.type);
  out.value_size = map.value_size;
  out.max_entries = map.max_entries;
  out.id = map.id;
  out.key_size = map.key_size;
  out.map_flags = map.flags;

  auto budget = budget_for(map);
  const auto take = [&](auto found, auto& into) {
    if (found)
      into = std::move(*found);
    else
      add_note(out, found.error().message);
  };
  switch (map.type) {
    case MapType::ringbuf:
    case MapType::user_ringbuf:
      take(reader_.ringbuf(map), out.ringbuf);
      return out;
    case MapType::stack_trace:
      take(reader_.stack_trace(map, options_.limits, budget), out.stack_trace);
      return out;
    case MapType::arena: {
      const auto arena = Arena::open(reader_, map);
      if (!arena) {
        add_note(out, arena.error().message);
        return out;
      }
      out.arena = arena->snapshot(reader_.kernel(), options_.limits, budget);
      if (arena->kern_vm_start() == 0) add_note(out, "bpf_arena.kern_vm is unreadable or null");
      return out;
    }
    default:
      break;
  }
  if (MapReader::is_fd_array(map.type)) {
    take(reader_.fd_array(map, options_.limits, budget), out.fd_array);
    return out;
  }
  if (!MapReader::has_elements(map.type)) {
    const auto sentence = reader_.describe(map, budget);
    add_note(out, sentence ? *sentence : sentence.error().message);
    return out;
  }

  const Types types = types_of(map);
  if (is_pointer_hash(map.type))
    pointers(map, out);
  else if (map.type == MapType::struct_ops || (map.type == MapType::array && map.max_entries <= 1))
    single(map, types, out);
  else if (map.type == MapType::array || map.type == MapType::insn_array)
    array(map, types, out);
  else if (map.type == MapType::percpu_array)
    percpu_array(map, types, out);
  else if (has_value_per_cpu(map.type))
    percpu_entries(map, types, out);
  else
    entries(map, types, out);
  if (types.problem) add_note(out, *types.problem);
  return out;
}

Walked MapRenderer::write(const MapInfo& map, JsonWriter& json) {
  Walked walked;
  json.begin_array();
  if (MapReader::has_elements(map.type)) {
    const Types types = types_of(map);
    auto budget = budget_for(map);
    walked = reader_.elements(map, budget, [&](const Element& element) {
      json.begin_object().key("key");
      write(types.key, element.key.empty() ? std::nullopt : std::optional(element.key), json);
      if (element.per_cpu.empty()) {
        json.key("value");
        write(types.value, element.value, json);
      } else {
        json.key("per_cpu").begin_array();
        for (const auto& copy : element.per_cpu) write(types.value, copy, json);
        json.end_array();
      }
      json.end_object();
      return true;
    });
    if (types.problem) walked.notes.push_back(*types.problem);
  } else {
    walked.complete = false;
    walked.notes.push_back(fmt::format("a map of type {} has no keys and values", to_string(map.type)));
  }
  json.end_array();
  return walked;
}

void MapRenderer::write(const render::TypeRef& type, const std::optional<std::span<const std::byte>>& bytes, JsonWriter& json) {
  if (!bytes) {
    json.null();
    return;
  }
  render::JsonSink sink(json);
  if (type.id == 0 || !type.types)
    sink.bytes(*bytes);
  else
    renderer(type.types).render(type.id, *bytes, sink);
}

void MapRenderer::single(const MapInfo& map, const Types& types, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, 0);
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    if (!element.value) return true;
    if (!taking.may(element.value->size())) return false;
    out.value = value(types.value, *element.value);
    if (types.value.id != 0 && types.value.types) out.value_bytes = copy_of(*element.value);
    if (holds_strings(map)) out.value_text = printable(*element.value);
    return true;
  });
  taking.tell(out, walked, "values");
}

void MapRenderer::array(const MapInfo& map, const Types& types, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, options_.limits.array_keys);
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    if (!taking.may(map.value_size)) return false;
    ArrayEntry entry;
    std::memcpy(&entry.key, element.key.data(), sizeof entry.key);
    if (element.value) entry.value = value(types.value, *element.value);
    out.array_entries.push_back(std::move(entry));
    return true;
  });
  taking.tell(out, walked, "keys");
}

std::vector<std::optional<render::Value>> MapRenderer::per_cpu(const render::TypeRef& type, const Element& element) {
  std::vector<std::optional<render::Value>> values;
  for (const auto& copy : element.per_cpu) values.push_back(copy ? std::optional(value(type, *copy)) : std::nullopt);
  return values;
}

void MapRenderer::percpu_array(const MapInfo& map, const Types& types, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, options_.limits.percpu_keys);
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    if (!taking.may(std::uint64_t{map.value_size} * element.per_cpu.size())) return false;
    PercpuEntry entry;
    std::memcpy(&entry.key, element.key.data(), sizeof entry.key);
    entry.per_cpu = per_cpu(types.value, element);
    out.percpu_entries.push_back(std::move(entry));
    return true;
  });
  taking.tell(out, walked, "keys");
}

void MapRenderer::percpu_entries(const MapInfo& map, const Types& types, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, options_.limits.hash_entries);
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    if (!taking.may(map.key_size + std::uint64_t{map.value_size} * element.per_cpu.size())) return false;
    PercpuHashEntry entry;
    entry.key_bytes = copy_of(element.key);
    if (types.key.id != 0) entry.key = value(types.key, element.key);
    entry.per_cpu = per_cpu(types.value, element);
    out.percpu_hash_entries.push_back(std::move(entry));
    return true;
  });
  taking.tell(out, walked, "entries");
}

void MapRenderer::entries(const MapInfo& map, const Types& types, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, options_.limits.hash_entries);
  const bool storage = is_local_storage(map.type);
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    const auto bytes = element.value.value_or(std::span<const std::byte>{});
    if (!taking.may(element.key.size() + bytes.size())) return false;
    MapEntry entry;
    entry.key_bytes = copy_of(element.key);
    entry.value_bytes = copy_of(bytes);
    if (storage) {
      std::uint64_t owner = 0;
      std::memcpy(&owner, element.key.data(), sizeof owner);
      entry.key = render::Value{render::Ptr{owner, nullptr, std::nullopt, std::nullopt}};
    } else if (types.key.id != 0 && !element.key.empty()) {
      entry.key = value(types.key, element.key);
    }
    if (element.value && (types.value.id != 0 || storage)) entry.value = value(types.value, bytes);
    if (element.value) entry.payload = payload(map, types.value, bytes);
    out.entries.push_back(std::move(entry));
    return true;
  });
  taking.tell(out, walked, "entries");
}

// The keys, and of a map of maps the ids of the inner ones, which is what user space gets from a lookup.
void MapRenderer::pointers(const MapInfo& map, Map& out) {
  auto budget = budget_for(map);
  Taking taking(*this, options_.limits.hash_entries);
  FdArray& table = out.fd_array.emplace();
  const auto walked = reader_.elements(map, budget, [&](const Element& element) {
    ++table.populated;
    ++table.scanned;
    if (!taking.may(element.key.size())) return true;
    if (std::uint32_t index = 0; element.key.size() == sizeof index) {
      std::memcpy(&index, element.key.data(), sizeof index);
      table.indices.push_back(index);
    }
    MapEntry entry;
    entry.key_bytes = copy_of(element.key);
    std::uint64_t pointer = 0;
    if (element.value && element.value->size() == sizeof pointer) std::memcpy(&pointer, element.value->data(), sizeof pointer);
    const auto& id_at = reader_.layout().map_id;
    if (map.type != MapType::hash_of_maps)
      entry.value_bytes = copy_of(element.value.value_or(std::span<const std::byte>{}));
    else if (const auto id = id_at ? reader_.kernel().memory().get<std::uint32_t>(Kva(pointer) + *id_at) : std::nullopt)
      entry.value_bytes = copy_of(std::as_bytes(std::span(&*id, 1)));
    out.entries.push_back(std::move(entry));
    return true;
  });
  table.indices_truncated = table.populated > out.entries.size();
  taking.tell(out, walked, "entries");
}

// What the value's first pointer to a struct sdt_data leads to. The allocator is the only one, or that whose stem the map's name has.
std::optional<render::Value> MapRenderer::payload(const MapInfo& map, const render::TypeRef& type, std::span<const std::byte> bytes) {
  if (type.id == 0 || !type.types) return std::nullopt;
  const auto offset = sdt_data_member(*type.types, type.id);
  if (!offset || *offset + sizeof(std::uint64_t) > bytes.size()) return std::nullopt;
  std::uint64_t pointer = 0;
  std::memcpy(&pointer, bytes.data() + *offset, sizeof pointer);
  const auto* pool = index_.pool_for(map.name);
  if (pointer == 0 || pool == nullptr || pool->elem_size <= pool->header_bytes) return std::nullopt;
  std::vector<std::byte> slot(pool->elem_size);
  if (index_.read_arena(pointer, slot) != slot.size()) return std::nullopt;
  return value(pool->payload, std::span(slot).subspan(pool->header_bytes), pointer + pool->header_bytes);
}

}  // namespace floe::walkers::bpf
