// What the renderer's tests share: bytes by hand, a value's JSON, and memory for pointers to lead to.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/walkers/synthetic/types.hpp"
#include "walkers/render/json_sink.hpp"
#include "walkers/render/renderer.hpp"
#include "walkers/render/tree.hpp"

namespace floe::walkers::render {

// Little-endian values one after the other.
template <class... T>
std::vector<std::byte> bytes_of(T... values) {
  std::vector<std::byte> bytes;
  const auto add = [&bytes](const auto& value) {
    const auto* at = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), at, at + sizeof value);
  };
  (add(values), ...);
  return bytes;
}

inline std::shared_ptr<const TypeTable> table_of(const synthetic::TypeWriter& writer) {
  auto table = TypeTable::parse(writer.bytes());
  if (!table) throw std::runtime_error(table.error().message);
  return *table;
}

inline std::string json_of(Renderer& renderer, int type_id, const std::vector<std::byte>& bytes, std::uint64_t address = 0) {
  JsonWriter json;
  JsonSink sink(json);
  renderer.render(static_cast<std::uint32_t>(type_id), bytes, sink, address);
  return std::move(json).take();
}

// The same by way of a tree, which knows no shapes.
inline std::string json_by_tree(Renderer& renderer, int type_id, const std::vector<std::byte>& bytes, std::uint64_t address = 0) {
  JsonWriter json;
  write(renderer.value(static_cast<std::uint32_t>(type_id), bytes, address), json);
  return std::move(json).take();
}

// Of a table made by `writer`, with nothing around. Both ways give the same text, or there is none.
inline std::string json_of(const synthetic::TypeWriter& writer, int type_id, const std::vector<std::byte>& bytes) {
  Renderer renderer(table_of(writer)), other(table_of(writer));
  const std::string text = json_of(renderer, type_id, bytes);
  const std::string tree = json_by_tree(other, type_id, bytes);
  return text == tree ? text : "directly: " + text + "\nby a tree: " + tree;
}

// An arena and kernel memory of a few bytes.
struct PlantedMemory : PointerSource {
  std::uint64_t start = 0x1000'0000'0000;
  std::map<std::uint64_t, std::vector<std::byte>> objects;
  std::map<std::uint64_t, ArenaSlot> slots;
  std::map<std::uint64_t, bool> listed;
  std::optional<TypeRef> sole;
  std::uint64_t untyped = 0;
  std::map<std::string, TypeRef> siblings;

  std::size_t read(std::uint64_t address, std::span<std::byte> out) const {
    auto at = objects.upper_bound(address);
    if (at == objects.begin()) return 0;
    --at;
    const std::uint64_t skip = address - at->first;
    if (skip >= at->second.size()) return 0;
    const std::size_t bytes = std::min<std::size_t>(out.size(), at->second.size() - skip);
    std::memcpy(out.data(), at->second.data() + skip, bytes);
    return bytes;
  }

  std::uint64_t arena_start() const override { return start; }
  std::size_t read_arena(std::uint64_t address, std::span<std::byte> out) const override { return read(address, out); }
  std::size_t read_kernel(Kva address, std::span<std::byte> out) const override { return read(address.value, out); }
  bool is_listed(std::uint64_t address) const override { return listed.contains(address); }
  std::optional<ArenaSlot> slot(std::uint64_t address) const override {
    const auto at = slots.find(address);
    return at == slots.end() ? std::nullopt : std::optional(at->second);
  }
  std::optional<TypeRef> sole_payload() const override { return sole; }
  bool is_untyped(std::uint64_t address) const override { return address == untyped; }
  std::optional<TypeRef> complete_type(std::string_view name, bool) const override {
    const auto at = siblings.find(std::string(name));
    return at == siblings.end() ? std::nullopt : std::optional(at->second);
  }
};

}  // namespace floe::walkers::render
