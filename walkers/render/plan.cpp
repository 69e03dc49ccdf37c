#include "walkers/render/plan.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "walkers/render/shape.hpp"

namespace floe::walkers::render {
namespace {

constexpr std::size_t kMaxMembers = 1 << 18;        // of all plans of one BTF
constexpr std::size_t kMaxStructMembers = 1 << 16;  // of one struct, the spliced ones with it
constexpr int kMaxNesting = 32;                     // anonymous structs in one another

void unsupported(Node& node, std::string reason) {
  node.op = Op::kUnsupported;
  node.bytes = 0;
  node.reason = std::move(reason);
}

bool is_plain_u64(const btf_type* type) {
  return btf_is_int(type) && type->size == 8 && btf_int_bits(type) == 64 && btf_int_encoding(type) == 0;
}

bool is_signed(const btf_type* type) {
  return btf_is_int(type) ? (btf_int_encoding(type) & BTF_INT_SIGNED) != 0 : BTF_INFO_KFLAG(type->info) != 0;
}

}  // namespace

const CpuMaskShape* cpu_mask_shape(std::string_view struct_name) {
  static constexpr std::array<std::pair<std::string_view, CpuMaskShape>, 5> kShapes{{
      {"cpumask", {0, true}},
      {"cpumask_t", {0, true}},
      {"bpf_cpumask", {0, true}},
      {"llc_cpumask", {0, false}},
      {"scx_bitmap", {8, false}},
  }};
  for (const auto& [name, shape] : kShapes)
    if (name == struct_name) return &shape;
  return nullptr;
}

std::size_t find_enumerator(const std::vector<Enumerator>& enumerators, std::uint64_t value) {
  const auto found = std::lower_bound(enumerators.begin(), enumerators.end(), value,
                                      [](const Enumerator& one, std::uint64_t wanted) { return one.value < wanted; });
  if (found == enumerators.end() || found->value != value) return enumerators.size();
  return static_cast<std::size_t>(found - enumerators.begin());
}

// The members of one struct on their way into a node: its own, or those of an anonymous member at some offset of it.
struct Plans::Splice {
  std::uint32_t parent;
  const btf_type* type;
  std::uint64_t bit_offset;
  int nesting;
};

Node& Plans::add(std::uint32_t type_id) {
  Node& node = nodes_.emplace_back();
  node.type_id = type_id;
  by_id_.emplace(type_id, &node);
  return node;
}

bool Plans::room_for(std::size_t more) {
  if (more > kMaxMembers - members_) return false;
  members_ += more;
  return true;
}

void Plans::find_shape(Node& node, std::uint64_t max_elements) {
  node.shape_known = true;
  node.shape = Shape::of(node, *this, max_elements, shapes_left_);
}

void Plans::compile(Node& node) {
  const auto peeled = types_->peel(node.type_id);
  if (!peeled) return unsupported(node, fmt::format("type {} leads nowhere", node.type_id));
  const btf_type* type = types_->type(*peeled);
  node.type_id = *peeled;
  node.name = types_->name(type->name_off);
  switch (btf_kind(type)) {
    case BTF_KIND_INT:
      return compile_integer(node, type);
    case BTF_KIND_FLOAT:
      if (type->size != 4 && type->size != 8) return unsupported(node, fmt::format("unsupported float size {}", type->size));
      node.op = Op::kFloat;
      node.bytes = type->size;
      return;
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
      return compile_enum(node, type);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return compile_struct(node, type);
    case BTF_KIND_DATASEC:
      return compile_section(node, type);
    case BTF_KIND_ARRAY:
      return compile_array(node, type);
    case BTF_KIND_PTR:
      node.op = Op::kPointer;
      node.bytes = 8;
      node.type_id = type->type;
      return;
    case BTF_KIND_FWD:
      return unsupported(node, fmt::format("{} {} is only declared", btf_kflag(type) ? "union" : "struct", node.name));
    case BTF_KIND_FUNC:
    case BTF_KIND_FUNC_PROTO:
      return unsupported(node, "a function has no value");
    case BTF_KIND_UNKN:
      return unsupported(node, "void has no value");
    default:
      return unsupported(node, fmt::format("BTF kind {}", btf_kind(type)));
  }
}

void Plans::compile_integer(Node& node, const btf_type* type) {
  const unsigned encoding = btf_int_encoding(type);
  node.bytes = type->size;
  node.bits = static_cast<std::uint16_t>(std::min<std::uint32_t>(type->size, 8) * 8);
  node.is_signed = is_signed(type);
  if (type->size == 0) return unsupported(node, "an integer of no bytes");
  if (encoding & BTF_INT_BOOL) {
    node.op = Op::kBool;
  } else if ((encoding & BTF_INT_CHAR) && type->size == 1) {
    node.op = Op::kChar;
  } else if (type->size > 8) {
    node.op = Op::kBytes;
  } else {
    node.op = node.is_signed ? Op::kInt : Op::kUint;
    // Before member offsets carried a width, a bit-field was an integer narrower than its storage.
    const unsigned bits = btf_int_bits(type);
    const unsigned first = btf_int_offset(type);
    if (bits == node.bits && first == 0) return;
    if (bits == 0 || first + bits > node.bits || first > 7) return unsupported(node, fmt::format("an integer of bits {}+{}", first, bits));
    node.shift = static_cast<std::uint8_t>(first);
    node.bits = static_cast<std::uint16_t>(bits);
  }
}

void Plans::compile_enum(Node& node, const btf_type* type) {
  if (type->size != 1 && type->size != 2 && type->size != 4 && type->size != 8)
    return unsupported(node, fmt::format("an enum of {} bytes", type->size));
  const std::uint32_t count = btf_vlen(type);
  if (!room_for(count)) return unsupported(node, "the BTF has too many members");
  node.op = Op::kEnum;
  node.bytes = type->size;
  node.bits = static_cast<std::uint16_t>(type->size * 8);
  node.is_signed = btf_kflag(type);
  const std::uint64_t mask = type->size == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << node.bits) - 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (btf_is_enum(type)) {
      const auto& one = btf_enum(type)[i];
      node.enumerators.push_back({static_cast<std::uint64_t>(std::int64_t{one.val}) & mask, i, types_->name(one.name_off)});
    } else {
      const auto& one = btf_enum64(type)[i];
      node.enumerators.push_back({btf_enum64_value(&one) & mask, i, types_->name(one.name_off)});
    }
  }
  std::sort(node.enumerators.begin(), node.enumerators.end(),
            [](const Enumerator& a, const Enumerator& b) { return std::tie(a.value, a.order) < std::tie(b.value, b.order); });
}

void Plans::compile_struct(Node& node, const btf_type* type) {
  node.bytes = type->size;
  if (cpu_mask_shape(node.name) != nullptr) {
    node.op = Op::kCpuMask;
    return;
  }
  node.op = Op::kStruct;
  if (!splice(node, {node.type_id, type, 0, 0})) {
    node.members = {};
    unsupported(node, fmt::format("struct {} has too many members", node.name));
  }
}

bool Plans::splice(Node& into, const Splice& from) {
  if (from.nesting > kMaxNesting) return false;
  const btf_member* members = btf_members(from.type);
  const std::uint32_t count = btf_vlen(from.type);
  if (into.members.size() + count > kMaxStructMembers || !room_for(count)) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t in_parent = btf_member_bit_offset(from.type, i);
    const std::uint64_t bit_offset = from.bit_offset + in_parent;
    const auto peeled = types_->peel(members[i].type);
    const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
    const auto name = types_->name(members[i].name_off);
    if (name.empty() && type != nullptr && btf_is_composite(type)) {
      if (!splice(into, {*peeled, type, bit_offset, from.nesting + 1})) return false;
      continue;
    }
    unsigned bits = btf_member_bitfield_size(from.type, i);
    if (bits == 0 && bit_offset % 8 != 0 && type != nullptr && btf_is_int(type)) bits = btf_int_bits(type);
    MemberPlan member;
    if (bits != 0) {
      member.node = &bit_field(members[i].type, bit_offset % 8, bits);
      member.room = member.node->bytes;
    } else {
      member = plain_member(members[i].type);
      member.cast = cast_of({from.parent, static_cast<std::uint32_t>(in_parent / 8)}, members[i].type);
    }
    member.name = name;
    member.offset = bit_offset / 8;
    into.members.push_back(member);
  }
  return true;
}

void Plans::compile_section(Node& node, const btf_type* type) {
  const std::uint32_t count = btf_vlen(type);
  if (!room_for(count)) return unsupported(node, "the BTF has too many members");
  node.op = Op::kStruct;
  node.bytes = type->size;
  for (std::uint32_t i = 0; i < count; ++i) {
    const btf_var_secinfo& variable = btf_var_secinfos(type)[i];
    MemberPlan member = plain_member(variable.type);
    // A variable has what the section gives it, which for one that ends in a flexible array is more than its type.
    if (variable.size != 0) member.room = variable.size;
    member.cast = cast_of({variable.type, 0}, variable.type);
    member.name = types_->name_of(variable.type);
    member.offset = variable.offset;
    node.members.push_back(member);
  }
}

void Plans::compile_array(Node& node, const btf_type* type) {
  const struct btf_array* array = ::btf_array(type);
  const auto element = types_->size(array->type);
  const auto bytes = types_->size(node.type_id);
  if (!element || !bytes) return unsupported(node, "an array whose elements have no size");
  node.op = array->nelems == 0 ? Op::kFlexArray : Op::kArray;
  node.len = array->nelems;
  node.bytes = *bytes;
  node.element = plain_member(array->type).node;
}

MemberPlan Plans::plain_member(std::uint32_t type_id) {
  const auto known = by_id_.find(type_id);
  MemberPlan member;
  member.node = known != by_id_.end() ? known->second : &add(type_id);
  const auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  const bool flexible = type != nullptr && btf_is_array(type) && btf_array(type)->nelems == 0;
  member.room = flexible ? kToTheEnd : types_->size(type_id).value_or(0);
  return member;
}

Node& Plans::bit_field(std::uint32_t type_id, unsigned shift, unsigned bits) {
  Node& node = nodes_.emplace_back();
  node.type_id = type_id;
  const auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  if (bits > 64 || type == nullptr || !(btf_is_int(type) || btf_is_any_enum(type))) {
    unsupported(node, fmt::format("a bit-field of {} bits", bits));
    return node;
  }
  node.is_signed = is_signed(type);
  node.op = node.is_signed ? Op::kInt : Op::kUint;
  node.shift = static_cast<std::uint8_t>(shift);
  node.bits = static_cast<std::uint16_t>(bits);
  node.bytes = (shift + bits + 7) / 8;
  return node;
}

const Cast* Plans::cast_of(CastKey key, std::uint32_t type_id) const {
  if (casts_ == nullptr) return nullptr;
  const Cast* cast = casts_->find(key);
  if (cast == nullptr) return nullptr;
  const auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  if (type != nullptr && btf_is_array(type)) {
    const auto element = types_->peel(btf_array(type)->type);
    type = element ? types_->type(*element) : nullptr;
  }
  return type != nullptr && is_plain_u64(type) ? cast : nullptr;
}

}  // namespace floe::walkers::render
