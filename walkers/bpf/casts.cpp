#include "walkers/bpf/casts.hpp"

#include <bpf/btf.h>

#include "walkers/bpf/bpf_object.hpp"
#include "walkers/bpf/cast_fields.hpp"
#include "walkers/bpf/cast_flow.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint32_t kAddedByLoader = 64;  // types that libbpf may append before it loads an object's BTF

// What the evidence for one member amounts to; nothing when it conflicts or does not suffice.
std::optional<render::Cast> conclude(render::CastKey key, const FieldEvidence& evidence, const CastFields& fields) {
  render::Cast cast{.key = key, .space = render::CastSpace::kKernel, .target = 0, .size_match = 0};
  if (evidence.pointer_targets.size() > 1) return std::nullopt;
  if (!evidence.pointer_targets.empty()) cast.target = *evidence.pointer_targets.begin();
  if (!evidence.arena) return cast.target != 0 ? std::optional(cast) : std::nullopt;

  cast.space = render::CastSpace::kArena;
  if (cast.target != 0) {
    // A pointer to what is only declared here does not contradict an allocator that hands it out.
    if (btf_is_fwd(fields.types().type(cast.target))) return cast;
    return std::nullopt;
  }
  cast.target = fields.only_shaped(evidence.accesses, key.parent).value_or(0);
  if (evidence.same_allocation) cast.size_match = fields.only_sized(evidence.allocation).value_or(0);
  return cast;
}

// Are the object's structs those of the program, under the same ids?
bool same_structs(const render::TypeTable& object, const render::TypeTable& program) {
  if (object.count() > program.count() || program.count() - object.count() > kAddedByLoader) return false;
  for (std::uint32_t id = object.first_own(); id < object.count(); ++id) {
    const btf_type* own = object.type(id);
    const btf_type* other = program.type(id);
    if (!btf_is_composite(own)) continue;
    if (btf_kind(own) != btf_kind(other) || own->size != other->size || btf_vlen(own) != btf_vlen(other) ||
        object.name_of(id) != program.name_of(id))
      return false;
  }
  return true;
}

}  // namespace

render::Casts casts_of(const BpfObject& object, std::optional<WalkBudget::Clock::time_point> deadline) {
  const CastFields fields(object.types, object.kernel);
  std::vector<render::Cast> casts;
  for (const auto& [key, evidence] : collect_evidence(object, fields, deadline)) {
    if (deadline && WalkBudget::Clock::now() >= *deadline) break;
    if (const auto cast = conclude(key, evidence, fields)) casts.push_back(*cast);
  }
  return render::Casts(std::move(casts));
}

CastAnalysis CastAnalysis::of_file(std::span<const std::byte> file) {
  CastAnalysis analysis;
  const auto objects = embedded_objects(file);
  if (objects.empty()) analysis.problems_.push_back("the file has no BPF object in it");
  for (const auto bytes : objects) {
    const auto object = BpfObject::parse(bytes);
    if (object) {
      analysis.objects_.push_back({object->types, casts_of(*object)});
    } else {
      analysis.problems_.push_back(object.error().message);
    }
  }
  return analysis;
}

const render::Casts* CastAnalysis::find(const render::TypeTable& program) const {
  for (const Object& object : objects_)
    if (program.first_own() == 1 && same_structs(*object.types, program)) return &object.casts;
  return nullptr;
}

std::optional<render::TypeRef> CastAnalysis::complete_type(std::string_view name, bool is_union) const {
  for (const Object& object : objects_)
    if (const auto id = object.types->find(name, is_union)) return render::TypeRef{object.types, *id};
  return std::nullopt;
}

}  // namespace floe::walkers::bpf
