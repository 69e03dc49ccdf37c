// A type of BTF made ready to be rendered: names looked up, typedefs peeled, anonymous members spliced, sizes and bit positions worked
// out, once per type instead of once per value. Private to the renderer.
//
// BTF is the guest's: types that contain themselves, members without end and sizes that overflow all become nodes, a bounded number of
// them, whose rendering is bounded by the renderer.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "walkers/render/casts.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::render {

enum class Op : std::uint8_t {
  kPending,  // not looked at yet
  kInt,
  kUint,
  kBool,
  kChar,
  kFloat,
  kEnum,
  kStruct,  // also unions and data sections
  kArray,
  kFlexArray,
  kPointer,
  kCpuMask,
  kBytes,
  kUnsupported,
};

class Shape;
struct Node;

inline constexpr std::uint64_t kValueCost = 64;  // about what a small value is in JSON

struct MemberPlan {
  std::string_view name;
  std::uint64_t offset = 0;
  std::uint64_t room = 0;  // bytes of the struct that are the member's; kToTheEnd for a flexible array
  Node* node = nullptr;
  const Cast* cast = nullptr;  // the member, or each element of it, may be a pointer
};

inline constexpr std::uint64_t kToTheEnd = ~std::uint64_t{0};

struct Enumerator {
  std::uint64_t value = 0;  // masked to the enum's width
  std::uint32_t order = 0;  // as declared: of two names for one value the first counts
  std::string_view name;
};

// The index of the first enumerator with this value; the number of them when there is none.
std::size_t find_enumerator(const std::vector<Enumerator>& enumerators, std::uint64_t value);

struct Node {
  Op op = Op::kPending;
  bool is_signed = false;
  std::uint8_t shift = 0;     // of a bit-field: its first bit in the first byte
  std::uint16_t bits = 0;     // of an integer
  std::uint32_t type_id = 0;  // peeled; of a pointer what it points to, not peeled
  std::uint64_t bytes = 0;    // needed
  std::string_view name;      // of a struct; empty: anonymous
  std::uint64_t len = 0;      // of an array
  Node* element = nullptr;
  std::vector<MemberPlan> members;
  std::vector<Enumerator> enumerators;  // by value, then as declared
  std::string reason;                   // of what is unsupported
  std::shared_ptr<const Shape> shape;   // of its JSON, where it has one
  bool shape_known = false;             // it was looked for
};

// The nodes of one BTF. References to them stay good.
class Plans {
 public:
  // `casts` belong to `types` and may be null; both have to outlive the plans.
  Plans(std::shared_ptr<const TypeTable> types, const Casts* casts) : types_(std::move(types)), casts_(casts) {}

  Node& node(std::uint32_t type_id) {
    const auto known = by_id_.find(type_id);
    Node& node = known != by_id_.end() ? *known->second : add(type_id);
    prepare(node);
    return node;
  }

  // Looks at the type of a node that nobody needed before.
  void prepare(Node& node) {
    if (node.op == Op::kPending) compile(node);
  }

  // The shape of a node's JSON; null where it has none.
  const Shape* shape(Node& node, std::uint64_t max_elements) {
    if (!node.shape_known) find_shape(node, max_elements);
    return node.shape.get();
  }

  const TypeTable& types() const { return *types_; }
  const std::shared_ptr<const TypeTable>& shared_types() const { return types_; }

 private:
  static constexpr std::size_t kMostShapes = std::size_t{4} << 20;  // bytes of text, of all of them
  struct Splice;

  Node& add(std::uint32_t type_id);
  void compile(Node& node);
  void find_shape(Node& node, std::uint64_t max_elements);
  void compile_integer(Node& node, const btf_type* type);
  void compile_enum(Node& node, const btf_type* type);
  void compile_struct(Node& node, const btf_type* type);
  void compile_section(Node& node, const btf_type* type);
  void compile_array(Node& node, const btf_type* type);
  bool splice(Node& into, const Splice& from);
  MemberPlan plain_member(std::uint32_t type_id);
  Node& bit_field(std::uint32_t type_id, unsigned shift, unsigned bits);
  const Cast* cast_of(CastKey key, std::uint32_t type_id) const;
  bool room_for(std::size_t more);

  std::shared_ptr<const TypeTable> types_;
  const Casts* casts_;
  std::deque<Node> nodes_;
  std::unordered_map<std::uint32_t, Node*> by_id_;
  std::size_t members_ = 0;  // of all nodes, with the enumerators
  std::size_t shapes_left_ = kMostShapes;
};

// A struct that is a set of CPUs. Bits start at this byte.
struct CpuMaskShape {
  std::uint64_t first_byte;
  bool in_kernel;  // a pointer to one leads into kernel memory
};
const CpuMaskShape* cpu_mask_shape(std::string_view struct_name);

}  // namespace floe::walkers::render
