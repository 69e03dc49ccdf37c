#include "walkers/bpf/loaded_object.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "walkers/bpf/layout.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::size_t kMostInstructions = 1 << 18;
constexpr std::size_t kMostFunctions = 1024;  // of a program; BPF_MAX_SUBPROGS is 256
constexpr std::size_t kMostVariables = 1 << 16;
constexpr std::size_t kMostProblems = 8;
constexpr std::uint32_t kStep = 64;       // instructions
constexpr unsigned kKernelFunction = 2;   // BPF_PSEUDO_KFUNC_CALL
constexpr unsigned kFunctionAddress = 4;  // BPF_PSEUDO_FUNC
constexpr std::int32_t kCgrpStorageGet = 210;

// struct bpf_func_info
struct FunctionInfo {
  std::uint32_t first = 0;    // instruction
  std::uint32_t type_id = 0;  // BTF_KIND_FUNC
};
static_assert(sizeof(FunctionInfo) == 8);

// The helper that a function of the kernel is for the analysis (enum bpf_func_id). Those of maps go by the type's own
// (htab_map_lookup_elem).
std::optional<Reference> helper_named(std::string_view name) {
  const auto helper = [](std::int32_t number, std::int64_t element = 0) {
    return Reference{.kind = Reference::Kind::helper, .index = static_cast<std::uint32_t>(number), .offset = element};
  };
  if (name == "__htab_map_lookup_elem") return helper(BPF_FUNC_map_lookup_elem, 1);
  if (name.ends_with("_lookup_elem")) return helper(BPF_FUNC_map_lookup_elem);
  if (name.ends_with("_lookup_percpu_elem")) return helper(BPF_FUNC_map_lookup_percpu_elem);
  if (name.ends_with("_update_elem")) return helper(BPF_FUNC_map_update_elem);
  if (name.starts_with("bpf_task_storage_get")) return helper(BPF_FUNC_task_storage_get);
  if (name.starts_with("bpf_cgrp_storage_get")) return helper(kCgrpStorageGet);
  if (name.starts_with("bpf_sk_storage_get")) return helper(BPF_FUNC_sk_storage_get);
  if (name.starts_with("bpf_inode_storage_get")) return helper(BPF_FUNC_inode_storage_get);
  if (name == "bpf_get_current_task_btf") return helper(BPF_FUNC_get_current_task_btf);
  return std::nullopt;
}

class Loader {
 public:
  Loader(const Kernel& kernel, const CodeFields& fields, std::shared_ptr<const render::TypeTable> types)
      : kernel_(kernel), memory_(kernel.memory()), fields_(fields), call_base_(kernel.symbols().find("__bpf_call_base")) {
    object_.types = std::move(types);
    object_.kernel = render::TypeTable::of_kernel(kernel.shared_types());
  }

  void add_map(const MapInfo& map) {
    const auto index = static_cast<std::uint32_t>(object_.maps.size());
    MapUse use;
    const auto value = map.btf ? object_.types->peel(map.btf_value_type_id) : std::nullopt;
    const btf_type* type = value ? object_.types->type(*value) : nullptr;
    if (type != nullptr && btf_is_composite(type)) use.value = *value;
    if ((map.type == MapType::hash || map.type == MapType::lru_hash) && fields_.htab_key && map.key_size < kPageBytes)
      use.in_element = static_cast<std::int32_t>(*fields_.htab_key + ((map.key_size + 7) & ~7u));
    if (map.type == MapType::array) use.in_map = static_cast<std::int32_t>(fields_.array_value);
    object_.maps.push_back(use);
    maps_.emplace(map.address.value, index);
    // The one value of such a map may be addressed directly (array_map_direct_value_addr()).
    if (map.type != MapType::array || map.max_entries != 1 || map.value_size == 0 || type == nullptr) return;
    sections_.emplace(map.address.value + fields_.array_value, Region{map.value_size, index});
    if (!btf_is_datasec(type)) {
      object_.variables.push_back({index, 0, map.value_size, map.btf_value_type_id});
      return;
    }
    for (std::uint32_t i = 0; i < btf_vlen(type) && object_.variables.size() < kMostVariables; ++i) {
      const btf_var_secinfo& variable = btf_var_secinfos(type)[i];
      object_.variables.push_back({index, variable.offset, variable.size, variable.type});
    }
  }

  // False when its instructions or its functions cannot be read.
  bool add_program(const Program& program, WalkBudget& budget) {
    const auto len = memory_.get_number(program.address, fields_.len);
    const auto aux = memory_.get_pointer(program.address, fields_.aux);
    if (!len || !aux || *len == 0 || *len > kMostInstructions - object_.code.size()) return false;
    for (std::uint64_t i = 0; i < *len; i += kStep)
      if (!budget.step()) return false;
    const std::size_t base = object_.code.size();
    std::vector<Instruction> code(*len);
    if (!memory_.read_all(program.address + fields_.insnsi, std::as_writable_bytes(std::span(code)))) return false;
    const std::vector<FunctionInfo> infos = functions_of(*aux);
    if (infos.empty()) return false;
    const auto first_function = static_cast<std::uint32_t>(object_.functions.size());
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const std::uint64_t end = i + 1 < infos.size() ? infos[i + 1].first : *len;
      if (infos[i].first >= end || end > *len) {
        object_.functions.resize(first_function);
        return false;
      }
      add_function(infos[i], base, end);
    }
    object_.functions[first_function].context = context_of(program, *aux);
    object_.code.insert(object_.code.end(), code.begin(), code.end());
    for (std::size_t at = base; at < object_.code.size(); ++at) {
      refer(at, first_function, infos.size());
      if (object_.code[at].code == (BPF_LD | BPF_IMM | BPF_DW)) ++at;
    }
    return true;
  }

  BpfObject take() {
    std::sort(object_.variables.begin(), object_.variables.end(), [](const ObjectVariable& a, const ObjectVariable& b) {
      return std::tie(a.section, a.offset) < std::tie(b.section, b.offset);
    });
    return std::move(object_);
  }

 private:
  struct Region {
    std::uint32_t bytes = 0;
    std::uint32_t map = 0;  // index, which is its section's number too
  };

  std::vector<FunctionInfo> functions_of(Kva aux) const {
    const auto table = memory_.get_pointer(aux, fields_.func_info);
    const auto count = memory_.get_number(aux, fields_.func_info_cnt);
    if (!table || !count || *count > kMostFunctions) return {};
    std::vector<FunctionInfo> infos(*count);
    if (!memory_.read_all(*table, std::as_writable_bytes(std::span(infos)))) return {};
    return infos;
  }

  void add_function(const FunctionInfo& info, std::size_t base, std::uint64_t end) {
    const btf_type* type = object_.types->type(info.type_id);
    const bool known = type != nullptr && btf_is_func(type);
    const btf_type* prototype = known ? object_.types->type(type->type) : nullptr;
    object_.functions.push_back({.name = known ? std::string(object_.types->name(type->name_off)) : "",
                                 .start = static_cast<std::uint32_t>(base + info.first),
                                 .end = static_cast<std::uint32_t>(base + end),
                                 .prototype = prototype != nullptr && btf_is_func_proto(prototype) ? type->type : 0});
  }

  // Of a struct_ops program: the prototype of the member that it is, by the member's name in the program's own declaration of the struct.
  std::uint32_t context_of(const Program& program, Kva aux) const {
    if (program.type != kStructOpsProgram) return 0;
    const auto struct_id = memory_.get_number(aux, fields_.attach_btf_id);
    const auto member = memory_.get_number(program.address, fields_.expected_attach_type);
    const auto* theirs = struct_id ? object_.kernel->type(static_cast<std::uint32_t>(*struct_id)) : nullptr;
    if (theirs == nullptr || !member || !btf_is_struct(theirs) || *member >= btf_vlen(theirs)) return 0;
    const auto own_id = object_.types->find(object_.kernel->name(theirs->name_off));
    if (!own_id) return 0;
    const btf_type* own = object_.types->type(*own_id);
    const auto wanted = object_.kernel->name(btf_members(theirs)[*member].name_off);
    for (std::uint32_t i = 0; i < btf_vlen(own); ++i)
      if (object_.types->name(btf_members(own)[i].name_off) == wanted) return prototype_behind(*object_.types, btf_members(own)[i].type);
    return 0;
  }

  void refer(std::size_t at, std::uint32_t first_function, std::size_t functions) {
    const Instruction& one = object_.code[at];
    std::optional<Reference> found;
    if (one.code == (BPF_LD | BPF_IMM | BPF_DW) && one.src() != kFunctionAddress && at + 1 < object_.code.size()) {
      const auto high = static_cast<std::uint32_t>(object_.code[at + 1].imm);
      found = address(std::uint64_t{high} << 32 | static_cast<std::uint32_t>(one.imm));
    } else if (one.code == (BPF_JMP | BPF_CALL)) {
      if (one.src() == BPF_PSEUDO_CALL) {
        found = called(at, first_function, functions);
      } else if (one.src() == kKernelFunction) {
        if (one.off == 0 && one.imm > 0) found = kernel_function(static_cast<std::uint32_t>(one.imm));
      } else if (one.src() == 0 && call_base_) {
        found = helper(one.imm);
      }
    }
    if (found) object_.references.emplace(static_cast<std::uint32_t>(at), std::move(*found));
  }

  // jit_subprogs() leaves the distance in `off` and the function's number in `imm`, or, in 7.x, the distance in `imm`.
  std::optional<Reference> called(std::size_t at, std::uint32_t first_function, std::size_t functions) const {
    const Instruction& one = object_.code[at];
    const auto number = static_cast<std::uint32_t>(one.imm);
    if (number < functions &&
        static_cast<std::uint16_t>(object_.functions[first_function + number].start - at - 1) == static_cast<std::uint16_t>(one.off))
      return Reference{.kind = Reference::Kind::function, .index = first_function + number};
    for (std::uint32_t i = first_function; i < object_.functions.size(); ++i)
      if (static_cast<std::int64_t>(object_.functions[i].start) == static_cast<std::int64_t>(at) + 1 + one.imm)
        return Reference{.kind = Reference::Kind::function, .index = i};
    return std::nullopt;
  }

  std::optional<Reference> address(std::uint64_t value) const {
    if (const auto map = maps_.find(value); map != maps_.end()) return Reference{.kind = Reference::Kind::map, .index = map->second};
    auto section = sections_.upper_bound(value);
    if (section == sections_.begin() || value - (--section)->first >= section->second.bytes) return std::nullopt;
    return Reference{
        .kind = Reference::Kind::data, .index = section->second.map, .offset = static_cast<std::int64_t>(value - section->first)};
  }

  std::optional<Reference> kernel_function(std::uint32_t id) const {
    const btf_type* type = object_.kernel->type(id);
    if (type == nullptr || !btf_is_func(type)) return std::nullopt;
    Reference reference{.kind = Reference::Kind::kfunc, .name = std::string(object_.kernel->name(type->name_off))};
    reference.index = prototype_of(*object_.types, reference.name);
    return reference;
  }

  std::optional<Reference> helper(std::int32_t distance) {
    const auto [known, is_new] = helpers_.try_emplace(distance);
    if (is_new) {
      const auto symbol = kernel_.symbols().at(*call_base_ + static_cast<std::uint64_t>(std::int64_t{distance}));
      if (symbol && symbol->offset == 0) known->second = helper_named(symbol->name);
    }
    return known->second;
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const CodeFields& fields_;
  std::optional<Kva> call_base_;
  BpfObject object_;
  std::map<std::uint64_t, std::uint32_t> maps_;  // by address
  std::map<std::uint64_t, Region> sections_;     // likewise
  std::map<std::int32_t, std::optional<Reference>> helpers_;
};

}  // namespace

Result<LoadedObject> loaded_object(const Kernel& kernel, const ProgramTable& programs, const MapTable& maps, Kva btf,
                                   std::shared_ptr<const render::TypeTable> types, WalkBudget& budget) {
  const auto fields = CodeFields::resolve(kernel.types());
  if (!fields) return fail(fields.error());
  Loader loader(kernel, *fields, std::move(types));
  for (const MapInfo& map : maps.maps)
    if (map.btf == btf) loader.add_map(map);
  LoadedObject loaded;
  for (const Program& program : programs.programs) {
    if (program.btf != btf) continue;
    if (loader.add_program(program, budget))
      ++loaded.programs;
    else if (loaded.problems.size() < kMostProblems)
      loaded.problems.push_back(fmt::format("the instructions of program {} ({}) are unreadable or too many", program.id, program.name));
  }
  loaded.object = loader.take();
  return loaded;
}

}  // namespace floe::walkers::bpf
