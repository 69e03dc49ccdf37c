// Shows bytes of the guest as what their BTF says they are.
//
//   Renderer renderer(types, {.cpus = 8, .pointers = &arena});
//   JsonSink sink(json);
//   for (const auto& element : map) renderer.render(value_type_id, element.value, sink);
//
// A type is compiled once (plan.hpp) and then run over the bytes of every value; into JSON that allocates nothing per value. Values that
// are cut off come as `truncated` with what is there, members of anonymous structs among those of their parent, bit-fields as integers,
// structs of CPU bits as a list. Pointers into a BPF arena are followed, those to CPU masks too, and integers that hold pointers
// where `casts` knows them; no other kernel pointer is, for nothing says that its target is alive. Of a large struct of the kernel, of
// which a map may have a pointer per task, only its name is shown.
//
// Both the bytes and the BTF are the guest's. What one render() can cost is bounded: values are at most 32 deep, an array shows
// `max_elements`, what is written stays in proportion to the bytes that were given, and dereferences are counted. What a bound cut off
// says so in its place.
//
// Not for two threads at once; each makes its own over the same tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/budget.hpp"
#include "walkers/render/casts.hpp"
#include "walkers/render/pointers.hpp"
#include "walkers/render/sink.hpp"
#include "walkers/render/type_table.hpp"
#include "walkers/render/value.hpp"

namespace floe {
class JsonWriter;
}

namespace floe::walkers::render {

class Plans;
struct Node;

struct RenderOptions {
  std::uint32_t cpus = 64;                  // of the guest (Kernel::cpu_count()): how far a CPU mask goes
  std::uint64_t max_elements = 4096;        // of an array; 0: all that are there
  std::uint32_t max_derefs = 1024;          // of one value
  const PointerSource* pointers = nullptr;  // outlives the renderer
  const Casts* casts = nullptr;             // of `types`; outlives the renderer
  // The guest's kernel's: what kernel pointers lead to is shown as that kernel has it, for a program may declare as much of a struct as it
  // needs, in any order.
  std::shared_ptr<const TypeTable> kernel_types = nullptr;
  std::optional<WalkBudget::Clock::time_point> deadline = std::nullopt;  // what is rendered after it is `unsupported`
};

class Renderer {
 public:
  static constexpr int kMaxDepth = 32;

  explicit Renderer(std::shared_ptr<const TypeTable> types, RenderOptions options = {});
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  // One value of a type. `address` is where the bytes came from when that is an arena (user) address: then a pointer in them that leads
  // back to them is recognised as a cycle.
  void render(std::uint32_t type_id, std::span<const std::byte> bytes, Sink& sink, std::uint64_t address = 0);

  // The same as a tree.
  Value value(std::uint32_t type_id, std::span<const std::byte> bytes, std::uint64_t address = 0);

  const TypeTable& types() const;

  // How often a bound on what one value may cost was reached, over the life of the renderer.
  std::uint64_t limited() const { return limited_; }

 private:
  struct Target;

  void run(Node& node, std::span<const std::byte> bytes, int depth, const Cast* cast);
  bool write_shape(Node& node, std::span<const std::byte> bytes, int depth);
  void scalar(const Node& node, std::span<const std::byte> bytes);
  void short_scalar(const Node& node, std::span<const std::byte> bytes);
  void enumerator(const Node& node, std::uint64_t value);
  void structure(const Node& node, std::span<const std::byte> bytes, int depth);
  void array(const Node& node, std::span<const std::byte> bytes, int depth, const Cast* cast);
  void cpu_mask(const Node& node, std::span<const std::byte> bytes);

  void pointer(const Node& node, std::uint64_t value, int depth);
  void cast_pointer(std::uint64_t value, const Cast& cast, int depth);
  void cpu_mask_pointer(std::uint64_t value, std::uint64_t first_byte);
  void follow(std::uint64_t value, Target target, int depth);
  void prefer_kernel_type(Target& target) const;
  std::string too_large_here(std::uint64_t value, const Target& target) const;
  bool resolve(std::uint64_t value, Target& target);
  bool resolve_slot(std::uint64_t value, Target& target, bool only_declared);
  std::size_t read(std::uint64_t value, const Target& target, std::vector<std::byte>& into) const;
  bool in_arena(std::uint64_t value) const;

  bool spend(std::uint64_t cost) {
    spent_ += cost;
    return spent_ <= stop_at_ || may_go_on();
  }
  bool may_go_on();
  void limit_reached();
  Plans& plans_of(const std::shared_ptr<const TypeTable>& types);
  std::vector<std::byte>& buffer(int depth);

  RenderOptions options_;
  std::vector<std::unique_ptr<Plans>> plans_;  // the first of the types that were given, others of BTFs that pointers led into
  Plans* current_ = nullptr;
  Sink* sink_ = nullptr;
  JsonWriter* json_ = nullptr;  // of a sink that writes JSON

  // Of the value that is being rendered.
  std::uint64_t spent_ = 0;      // roughly what was written, in bytes
  std::uint64_t allowance_ = 0;  // how much of it may be
  std::uint64_t stop_at_ = 0;    // when to look at allowance and clock again
  std::uint64_t since_clock_;    // what the values before it have spent since one of them began with a look at the clock
  std::uint32_t derefs_ = 0;
  bool late_ = false;
  std::vector<std::uint64_t> path_;  // addresses of the objects around

  std::uint64_t limited_ = 0;
  std::vector<std::unique_ptr<std::vector<std::byte>>> buffers_;  // by depth
  std::string text_;
};

}  // namespace floe::walkers::render
