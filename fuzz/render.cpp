// Bytes of a guest rendered by BTF of a guest: both are the input. [bytes u16][memory u16][BTF blob...]; every type of the BTF is tried on
// the bytes, with pointers that may lead anywhere into `memory`. Output stays in proportion to input, and is JSON that nests as it should.
#include <cstdlib>
#include <string>

#include "fuzz/input.hpp"
#include "walkers/render/json_sink.hpp"
#include "walkers/render/renderer.hpp"
#include "walkers/render/tree.hpp"

using namespace floe;
using namespace floe::walkers::render;

namespace {

// Both halves of the address space are the same few bytes, over and over.
class Mirror : public PointerSource {
 public:
  explicit Mirror(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::uint64_t arena_start() const override { return std::uint64_t{1} << 44; }
  std::size_t read_arena(std::uint64_t address, std::span<std::byte> out) const override { return read(address, out); }
  std::size_t read_kernel(Kva address, std::span<std::byte> out) const override { return read(address.value, out); }
  bool is_listed(std::uint64_t address) const override { return address % 16 == 15; }
  std::optional<ArenaSlot> slot(std::uint64_t address) const override {
    if (bytes_.empty()) return std::nullopt;
    return ArenaSlot{.offset = address % 16, .header_bytes = 8, .payload = {types, bytes_.front()}};
  }
  std::optional<TypeRef> complete_type(std::string_view name, bool) const override {
    return TypeRef{types, static_cast<std::uint32_t>(name.size())};
  }

  std::shared_ptr<const TypeTable> types;

 private:
  std::size_t read(std::uint64_t address, std::span<std::byte> out) const {
    if (bytes_.empty()) return 0;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::byte{bytes_[(address + i) % bytes_.size()]};
    return out.size();
  }
  std::span<const std::uint8_t> bytes_;
};

// Are brackets outside of strings closed in order?
bool nests(std::string_view json) {
  std::string open;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      open += c;
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != (c == '}' ? '{' : '[')) return false;
      open.pop_back();
    }
  }
  return open.empty() && !in_string;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto bytes = std::as_bytes(input.take_bytes(input.take<std::uint16_t>() % 512u));
  Mirror memory(input.take_bytes(input.take<std::uint16_t>() % 512u));
  const auto types = TypeTable::parse(std::as_bytes(input.rest()));
  if (!types) return 0;
  memory.types = *types;
  const std::uint32_t count = std::min<std::uint32_t>((*types)->count(), 16);
  std::vector<Cast> casts;
  for (std::uint32_t id = 0; id < count; ++id)
    casts.push_back({{id, 8}, id % 2 ? CastSpace::kArena : CastSpace::kKernel, id % 3 ? id : 0, id});
  const Casts sorted(casts);
  Renderer renderer(*types, {.cpus = 100, .max_elements = 64, .max_derefs = 20, .pointers = &memory, .casts = &sorted});

  for (std::uint32_t id = 0; id <= count; ++id) {
    JsonWriter json;
    JsonSink sink(json);
    renderer.render(id, bytes, sink);
    // What pointers lead to counts as well: 20 objects of at most 4096 bytes, each with 64 bytes of output per byte.
    const std::size_t bound = 2 * ((std::size_t{64} << 10) + bytes.size() * 1024 + 20 * 4096 * 64) + (1 << 20);
    if (json.size() == 0 || json.size() > bound || !nests(json.view())) std::abort();
    if (json.size() > 65536) continue;
    JsonWriter again;
    write(renderer.value(id, bytes), again);
    if (again.view() != json.view()) std::abort();
  }
  return 0;
}
