// A map as the dump has it: its elements, each shown through the BTF the map names, or as bytes where it names none.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "walkers/bpf/allocators.hpp"
#include "walkers/bpf/arena_index.hpp"
#include "walkers/bpf/dump.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/render/program_types.hpp"
#include "walkers/render/renderer.hpp"

namespace floe::walkers::bpf {

class MapRenderer {
 public:
  // All of them outlive the renderer.
  MapRenderer(const MapReader& reader, const ArenaIndex& index, render::ProgramTypes& types, const DumpOptions& options);

  Map render(const MapInfo& map);

  // The elements of a map of any size while they are found, as an array of {"key", "value"} or, of maps with a value per CPU, {"key",
  // "per_cpu"}; null is what there is none of, or what is unreadable. No limit but the deadline; what was not seen stands in the notes.
  Walked write(const MapInfo& map, JsonWriter& json);

  // One value of a type; bytes where the id is 0.
  render::Value value(const render::TypeRef& type, std::span<const std::byte> bytes, std::uint64_t address = 0);

 private:
  struct Types {
    render::TypeRef key, value;
    std::optional<std::string> problem;  // the map's BTF cannot be read: its bytes are shown as they are
  };
  class Taking;

  void write(const render::TypeRef& type, const std::optional<std::span<const std::byte>>& bytes, JsonWriter& json);

  Types types_of(const MapInfo& map);
  render::Renderer& renderer(const std::shared_ptr<const render::TypeTable>& types);
  WalkBudget budget_for(const MapInfo& map) const;

  void single(const MapInfo& map, const Types& types, Map& out);
  void array(const MapInfo& map, const Types& types, Map& out);
  void percpu_array(const MapInfo& map, const Types& types, Map& out);
  void entries(const MapInfo& map, const Types& types, Map& out);
  void percpu_entries(const MapInfo& map, const Types& types, Map& out);
  void pointers(const MapInfo& map, Map& out);
  std::vector<std::optional<render::Value>> per_cpu(const render::TypeRef& type, const Element& element);
  std::optional<render::Value> payload(const MapInfo& map, const render::TypeRef& type, std::span<const std::byte> value);

  const MapReader& reader_;
  const ArenaIndex& index_;
  render::ProgramTypes& program_types_;
  const DumpOptions& options_;
  std::uint32_t cpus_;
  std::uint64_t bytes_left_;  // of limits.total_bytes
  std::map<const render::TypeTable*, std::unique_ptr<render::Renderer>> renderers_;
};

}  // namespace floe::walkers::bpf
