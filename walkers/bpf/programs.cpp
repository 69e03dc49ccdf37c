#include "walkers/bpf/programs.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "walkers/bpf/layout.hpp"
#include "walkers/xarray.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint32_t kMostUsedMaps = 64;  // MAX_USED_MAPS
constexpr std::array<std::string_view, 3> kSections = {".bss", ".data", ".rodata"};

std::uint64_t add_saturating(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

class ProgramReader {
 public:
  ProgramReader(const Kernel& kernel, const ProgFields& fields)
      : kernel_(kernel),
        memory_(kernel.memory()),
        fields_(fields),
        stats_(StatsFields::resolve(kernel.types())),
        cpus_(per_cpu_offsets(kernel)) {
    const auto attach = kernel.types().field("bpf_prog_aux.attach_btf_id");
    if (attach) attach_ = *attach;
  }

  std::optional<Program> read(std::uint64_t id, Kva address) const {
    const auto type = memory_.get_number(address, fields_.type);
    const auto tag = memory_.get<std::array<std::uint8_t, 8>>(address + fields_.tag.offset);
    const auto aux = memory_.get_pointer(address, fields_.aux);
    if (!type || !tag || !aux) return std::nullopt;
    Program program;
    program.id = static_cast<std::uint32_t>(id);
    program.address = address;
    program.type = static_cast<std::uint32_t>(*type);
    program.tag = *tag;
    program.name = memory_.get_string(*aux, fields_.name).value_or("");
    if (fields_.btf) program.btf = memory_.get_pointer(*aux, *fields_.btf);
    program.used_maps = used_maps(*aux);
    if (program.type == kStructOpsProgram) program.implements = implemented(*aux);
    if (const auto counters = memory_.get_pointer(address, fields_.stats)) program.stats = sum(*counters, program);
    return program;
  }

 private:
  // The pointer first, then the count: bpf_free_used_maps() leaves the count when it frees the array.
  std::vector<Kva> used_maps(Kva aux) const {
    std::vector<Kva> maps;
    const auto table = memory_.get_pointer(aux, fields_.used_maps);
    const auto count = memory_.get_number(aux, fields_.used_map_cnt);
    if (!table || !count) return maps;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(*count, kMostUsedMaps); ++i)
      if (const auto map = memory_.get<std::uint64_t>(*table + 8 * i); map && *map != 0) maps.emplace_back(*map);
    return maps;
  }

  // attach_btf_id is the id of the struct, in the kernel's BTF for the kernel's own.
  std::optional<std::string> implemented(Kva aux) const {
    const auto id = attach_ ? memory_.get_number(aux, *attach_) : std::nullopt;
    const auto* raw = kernel_.types().raw();
    const auto* type = id && *id != 0 ? btf__type_by_id(raw, static_cast<std::uint32_t>(*id)) : nullptr;
    if (type == nullptr || !btf_is_struct(type)) return std::nullopt;
    const char* name = btf__name_by_offset(raw, type->name_off);
    return name == nullptr ? std::nullopt : std::optional<std::string>(name);
  }

  std::optional<ProgRuntimeStats> sum(Kva counters, const Program& program) const {
    if (!stats_) return std::nullopt;
    ProgRuntimeStats total;
    total.name = program.name;
    total.id = program.id;
    bool any = false;
    for (const auto& offset : cpus_) {
      if (!offset) continue;
      const Kva at = counters + *offset;
      const auto cnt = memory_.get<std::uint64_t>(at + stats_->cnt);
      const auto nsecs = memory_.get<std::uint64_t>(at + stats_->nsecs);
      if (!cnt || !nsecs) continue;
      any = true;
      total.cnt = add_saturating(total.cnt, *cnt);
      total.nsecs = add_saturating(total.nsecs, *nsecs);
      if (stats_->misses) total.misses = add_saturating(total.misses, memory_.get<std::uint64_t>(at + *stats_->misses).value_or(0));
    }
    return any ? std::optional(std::move(total)) : std::nullopt;
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const ProgFields& fields_;
  Result<StatsFields> stats_;
  std::optional<Field> attach_;
  std::vector<std::optional<std::uint64_t>> cpus_;
};

// "object" of "object.bss"; nothing for a name that is no section's.
std::optional<std::string_view> object_of(std::string_view map) {
  for (const auto section : kSections)
    if (map.size() > section.size() && map.ends_with(section)) return map.substr(0, map.size() - section.size());
  return std::nullopt;
}

bool is_sched_ext(const Program& program) {
  return program.implements && program.implements->starts_with("sched_ext_ops");
}

std::optional<ActiveScheduler> by_program(const Program& program, const MapTable& maps) {
  for (const Kva used : program.used_maps) {
    const auto found = std::find_if(maps.maps.begin(), maps.maps.end(), [&](const MapInfo& map) { return map.address == used; });
    if (found == maps.maps.end() || found->type == MapType::struct_ops) continue;
    if (const auto object = object_of(found->name)) return ActiveScheduler{std::string(*object), program.used_maps};
  }
  return std::nullopt;
}

// The object a struct_ops map is named after, if its sections are there and none of them twice (a scheduler that is being replaced).
std::optional<ActiveScheduler> by_name(const MapTable& maps) {
  for (const auto& ops : maps.maps) {
    if (ops.type != MapType::struct_ops) continue;
    const auto object = ops.name.substr(0, ops.name.find('.'));
    std::map<std::string_view, int> sections;
    for (const auto& map : maps.maps)
      if (map.type != MapType::struct_ops && object_of(map.name) == object) ++sections[map.name];
    if (!sections.empty() && std::all_of(sections.begin(), sections.end(), [](const auto& entry) { return entry.second == 1; }))
      return ActiveScheduler{object, {}};
  }
  return std::nullopt;
}

}  // namespace

Result<ProgramTable> find_programs(const Kernel& kernel, WalkBudget& budget) {
  const auto idr = kernel.symbol("prog_idr");
  if (!idr) return fail(idr.error());
  const auto fields = ProgFields::resolve(kernel.types());
  if (!fields) return fail(fields.error());
  const ProgramReader reader(kernel, *fields);

  ProgramTable table;
  std::uint64_t unreadable = 0;
  const auto walk = walk_idr(kernel, *idr, budget, [&](std::uint64_t id, Kva address) {
    if (auto program = reader.read(id, address))
      table.programs.push_back(std::move(*program));
    else if (unreadable++ == 0)
      table.problems.push_back(fmt::format("program {} is unreadable: {}", id, kernel.memory().explain(address)));
    return true;
  });
  if (!walk) return fail(walk.error());
  table.complete = walk->complete && unreadable == 0;
  if (unreadable > 1) table.problems.push_back(fmt::format("{} programs are unreadable", unreadable));
  table.problems.insert(table.problems.end(), walk->problems.begin(), walk->problems.end());
  return table;
}

std::vector<ProgRuntimeStats> struct_ops_stats(const ProgramTable& programs) {
  std::vector<ProgRuntimeStats> stats;
  for (const auto& program : programs.programs)
    if (program.type == kStructOpsProgram && program.stats) stats.push_back(*program.stats);
  return stats;
}

ActiveScheduler active_scheduler(const ProgramTable& programs, const MapTable& maps) {
  // Other kernel subsystems have struct_ops too; where it can be told, only those of sched_ext are asked.
  const bool told = std::any_of(programs.programs.begin(), programs.programs.end(), is_sched_ext);
  for (const auto& program : programs.programs) {
    if (program.type != kStructOpsProgram || (told && !is_sched_ext(program))) continue;
    if (auto found = by_program(program, maps)) return std::move(*found);
  }
  return by_name(maps).value_or(ActiveScheduler{});
}

}  // namespace floe::walkers::bpf
