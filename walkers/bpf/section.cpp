#include "walkers/bpf/section.hpp"

#include <bpf/btf.h>

namespace floe::walkers::bpf {
namespace {

constexpr int kMaxNesting = 8;                // anonymous structs in one another
constexpr std::uint32_t kMaxVisits = 65'536;  // members looked at for one name

std::optional<std::uint64_t> find_bits(const render::TypeTable& types, std::uint32_t id, std::string_view member, int nesting,
                                       std::uint32_t& visits) {
  const auto peeled = types.peel(id);
  const auto* type = peeled ? types.type(*peeled) : nullptr;
  if (type == nullptr || !btf_is_composite(type) || nesting > kMaxNesting) return std::nullopt;
  for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
    if (++visits > kMaxVisits) return std::nullopt;
    const auto& own = btf_members(type)[i];
    const std::uint64_t bits = btf_member_bit_offset(type, i);
    const auto name = types.name(own.name_off);
    if (name == member) return btf_member_bitfield_size(type, i) == 0 ? std::optional(bits) : std::nullopt;
    if (!name.empty()) continue;
    if (const auto below = find_bits(types, own.type, member, nesting + 1, visits)) return bits + *below;
  }
  return std::nullopt;
}

bool points_to_sdt_data(const render::TypeTable& types, std::uint32_t id) {
  const auto peeled = types.peel(id);
  const auto* type = peeled ? types.type(*peeled) : nullptr;
  if (type == nullptr || !btf_is_ptr(type)) return false;
  const auto target = types.peel(type->type);
  const auto* pointee = target ? types.type(*target) : nullptr;
  return pointee != nullptr && (btf_is_struct(pointee) || btf_is_fwd(pointee)) && types.name(pointee->name_off) == "sdt_data";
}

std::optional<std::uint64_t> find_sdt_data(const render::TypeTable& types, std::uint32_t id, int nesting, std::uint32_t& visits) {
  const auto peeled = types.peel(id);
  const auto* type = peeled ? types.type(*peeled) : nullptr;
  if (type == nullptr || !btf_is_composite(type) || nesting > kMaxNesting) return std::nullopt;
  for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
    if (++visits > kMaxVisits) return std::nullopt;
    const auto& own = btf_members(type)[i];
    const std::uint64_t at = btf_member_bit_offset(type, i) / 8;
    if (points_to_sdt_data(types, own.type)) return at;
    if (const auto below = find_sdt_data(types, own.type, nesting + 1, visits)) return at + *below;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Variable> variables_of(const Section& section, std::string_view struct_name) {
  std::vector<Variable> found;
  const auto* datasec = section.types->type(section.type_id);
  if (datasec == nullptr || !btf_is_datasec(datasec)) return found;
  for (std::uint32_t i = 0; i < btf_vlen(datasec); ++i) {
    const auto& place = btf_var_secinfos(datasec)[i];
    const auto peeled = section.types->peel(place.type);
    const auto* type = peeled ? section.types->type(*peeled) : nullptr;
    if (type == nullptr || !btf_is_struct(type) || section.types->name(type->name_off) != struct_name) continue;
    Variable variable{std::string(section.types->name_of(place.type)), place.offset, std::nullopt};
    if (std::uint64_t{place.offset} + place.size <= section.bytes.size() && type->size <= place.size)
      variable.bytes = std::span(section.bytes).subspan(place.offset, place.size);
    found.push_back(std::move(variable));
  }
  return found;
}

std::optional<std::uint64_t> variable_offset(const render::TypeTable& types, std::uint32_t section_id, std::string_view variable) {
  const auto* datasec = types.type(section_id);
  if (datasec == nullptr || !btf_is_datasec(datasec)) return std::nullopt;
  for (std::uint32_t i = 0; i < btf_vlen(datasec); ++i) {
    const auto& place = btf_var_secinfos(datasec)[i];
    if (types.name_of(place.type) == variable) return place.offset;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> member_offset(const render::TypeTable& types, std::uint32_t struct_id, std::string_view member) {
  std::uint32_t visits = 0;
  const auto bits = find_bits(types, struct_id, member, 0, visits);
  if (!bits || *bits % 8 != 0 || *bits / 8 > 0xffffffffu) return std::nullopt;
  return static_cast<std::uint32_t>(*bits / 8);
}

std::optional<std::uint32_t> member_offset(const render::TypeTable& types, std::string_view struct_name, std::string_view member) {
  const auto id = types.find(struct_name);
  return id ? member_offset(types, *id, member) : std::nullopt;
}

std::optional<std::uint64_t> sdt_data_member(const render::TypeTable& types, std::uint32_t type_id) {
  std::uint32_t visits = 0;
  return find_sdt_data(types, type_id, 0, visits);
}

}  // namespace floe::walkers::bpf
