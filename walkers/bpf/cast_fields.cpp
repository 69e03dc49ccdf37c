#include "walkers/bpf/cast_fields.hpp"

#include <bpf/btf.h>

#include <algorithm>

namespace floe::walkers::bpf {
namespace {

constexpr int kMaxNesting = 8;

bool is_u64(const btf_type* type) {
  return btf_is_int(type) && type->size == 8 && btf_int_bits(type) == 64 && btf_int_encoding(type) == 0;
}

// Members of the same names at the same places.
bool same_members(const render::TypeTable& own, const btf_type* a, const render::TypeTable& other, const btf_type* b) {
  if (a->size != b->size || btf_vlen(a) != btf_vlen(b)) return false;
  for (std::uint32_t i = 0; i < btf_vlen(a); ++i)
    if (btf_member_bit_offset(a, i) != btf_member_bit_offset(b, i) ||
        own.name(btf_members(a)[i].name_off) != other.name(btf_members(b)[i].name_off))
      return false;
  return true;
}

}  // namespace

// The kernel's own struct, of one that the program declares otherwise, or in a flavour (NAME___ANYTHING, as libbpf has it); 0: of no other.
std::uint32_t CastFields::moved_by_kernel(std::uint32_t struct_id) const {
  if (!in_kernel_) return 0;
  const auto [known, is_new] = moved_.try_emplace(struct_id, 0);
  if (!is_new) return known->second;
  const render::TypeTable& kernel = in_kernel_->types();
  const btf_type* type = types_->type(struct_id);
  const auto name = types_->name_of(struct_id);
  if (name.empty()) return 0;
  const auto base = name.substr(0, name.find("___"));
  const auto theirs = kernel.find(base, btf_is_union(type));
  if (theirs && (base != name || !same_members(*types_, type, kernel, kernel.type(*theirs)))) known->second = *theirs;
  return known->second;
}

// A pointer in a struct of the kernel, to what the program has under the same name. Integers in there are not the program's.
std::optional<Leaf> CastFields::kernel_leaf(std::uint32_t struct_id, std::uint64_t offset) const {
  const auto theirs = in_kernel_->leaf(struct_id, offset);
  if (!theirs || !theirs->is_pointer) return std::nullopt;
  const auto name = in_kernel_->types().name_of(theirs->pointee);
  return Leaf{.is_pointer = true, .pointee = name.empty() ? 0 : types_->find(name).value_or(0)};
}

std::optional<Leaf> CastFields::leaf(std::uint32_t struct_id, std::uint64_t offset, int nesting) const {
  const btf_type* type = types_->type(struct_id);
  if (nesting > kMaxNesting || type == nullptr || !btf_is_composite(type)) return std::nullopt;
  if (const auto theirs = moved_by_kernel(struct_id)) return kernel_leaf(theirs, offset);
  const btf_member* members = btf_members(type);
  for (std::uint32_t i = 0; i < btf_vlen(type) && spend(); ++i) {
    const std::uint64_t bits = btf_member_bit_offset(type, i);
    if (btf_member_bitfield_size(type, i) != 0 || bits % 8 != 0 || offset < bits / 8) continue;
    const auto size = types_->size(members[i].type);
    if (!size || offset - bits / 8 >= *size) continue;
    const render::CastKey key{struct_id, static_cast<std::uint32_t>(bits / 8)};
    if (const auto found = value_leaf(members[i].type, key, offset - bits / 8, nesting + 1)) return found;
  }
  return std::nullopt;
}

std::optional<Leaf> CastFields::variable_leaf(std::uint32_t variable_id, std::uint64_t offset) const {
  return value_leaf(variable_id, {variable_id, 0}, offset, 0);
}

// Of a value that begins `offset` bytes before, and is a member or variable with this key.
std::optional<Leaf> CastFields::value_leaf(std::uint32_t type_id, render::CastKey key, std::uint64_t offset, int nesting) const {
  auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  for (int i = 0; type != nullptr && btf_is_array(type) && i < kMaxNesting; ++i) {
    const std::uint32_t element = btf_array(type)->type;
    const auto size = types_->size(element);
    if (!size || *size == 0) return std::nullopt;
    offset %= *size;
    peeled = types_->peel(element);
    type = peeled ? types_->type(*peeled) : nullptr;
  }
  if (type == nullptr) return std::nullopt;
  if (btf_is_composite(type)) return leaf(*peeled, offset, nesting);
  if (offset != 0) return std::nullopt;
  if (is_u64(type)) return Leaf{.key = key};
  if (btf_is_ptr(type)) return Leaf{.is_pointer = true, .pointee = types_->peel(type->type).value_or(0)};
  return std::nullopt;
}

std::optional<std::uint32_t> CastFields::pointee_struct(std::uint32_t type_id) const {
  const auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  if (type == nullptr || !btf_is_ptr(type)) return std::nullopt;
  const auto pointee = types_->peel(type->type);
  const btf_type* target = pointee ? types_->type(*pointee) : nullptr;
  if (target == nullptr || !(btf_is_composite(target) || btf_is_fwd(target))) return std::nullopt;
  return pointee;
}

bool CastFields::has(std::uint32_t type_id, Access access, int nesting) const {
  const auto peeled = types_->peel(type_id);
  const btf_type* type = peeled ? types_->type(*peeled) : nullptr;
  if (type == nullptr || nesting > kMaxNesting) return false;
  auto [offset, width] = access;
  if (btf_is_array(type)) {
    const auto size = types_->size(btf_array(type)->type);
    return size && *size != 0 && has(btf_array(type)->type, {static_cast<std::uint32_t>(offset % *size), width}, nesting + 1);
  }
  if (!btf_is_composite(type)) return offset == 0 && types_->size(*peeled) == width;
  for (std::uint32_t i = 0; i < btf_vlen(type) && spend(); ++i) {
    const std::uint64_t bits = btf_member_bit_offset(type, i);
    if (btf_member_bitfield_size(type, i) != 0 || bits % 8 != 0 || offset < bits / 8) continue;
    const auto inner = static_cast<std::uint32_t>(offset - bits / 8);
    const auto size = types_->size(btf_members(type)[i].type);
    if (size && inner < *size && has(btf_members(type)[i].type, {inner, width}, nesting + 1)) return true;
  }
  return false;
}

template <class Fits>
std::optional<std::uint32_t> CastFields::only_struct(Fits fits) const {
  std::optional<std::uint32_t> only;
  for (std::uint32_t id = types_->first_own(); id < types_->count(); ++id) {
    if (!spend()) return std::nullopt;
    const btf_type* type = types_->type(id);
    if (!btf_is_struct(type) || type->name_off == 0 || type->size == 0 || !fits(id, type)) continue;
    if (only) return std::nullopt;
    only = id;
  }
  return only;
}

std::optional<std::uint32_t> CastFields::only_shaped(const std::set<Access>& accesses, std::uint32_t except) const {
  if (accesses.empty()) return std::nullopt;
  const std::uint32_t end = accesses.rbegin()->first + accesses.rbegin()->second;
  return only_struct([&](std::uint32_t id, const btf_type* type) {
    return id != except && type->size >= end && std::all_of(accesses.begin(), accesses.end(), [&](Access a) { return has(id, a, 0); });
  });
}

std::optional<std::uint32_t> CastFields::only_sized(std::uint64_t bytes) const {
  if (bytes == 0) return std::nullopt;
  return only_struct([bytes](std::uint32_t, const btf_type* type) { return type->size == bytes; });
}

}  // namespace floe::walkers::bpf
