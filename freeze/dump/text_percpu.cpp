#include "freeze/dump/text_percpu.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "freeze/dump/text_table.hpp"
#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {
namespace {

using namespace walkers::render;

using PerCpu = std::vector<std::optional<Value>>;

constexpr std::size_t kMostGroupedCpus = 64;
constexpr std::size_t kMostTableFields = 7;
constexpr std::size_t kLeastTableGroups = 3;
constexpr std::size_t kCpuColumn = 3;

// CPUs with equal values.
struct Group {
  std::vector<std::size_t> cpus;
  const Value* value = nullptr;  // null: unmapped
};

std::vector<Group> groups_of(const PerCpu& per_cpu) {
  std::vector<Group> groups;
  for (std::size_t cpu = 0; cpu < per_cpu.size(); ++cpu) {
    const Value* value = per_cpu[cpu] ? &*per_cpu[cpu] : nullptr;
    const auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return value && group.value ? same(*group.value, *value) : group.value == value;
    });
    if (found == groups.end())
      groups.push_back({{cpu}, value});
    else
      found->cpus.push_back(cpu);
  }
  return groups;
}

std::string cpu_list(const std::vector<std::size_t>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    const std::size_t first = i;
    while (i + 1 < cpus.size() && cpus[i + 1] == cpus[i] + 1) ++i;
    text += text.empty() ? "" : ",";
    text += first == i ? std::to_string(cpus[i]) : fmt::format("{}-{}", cpus[first], cpus[i]);
  }
  return text;
}

std::string group_label(const Group& group, std::size_t all) {
  if (group.value == nullptr) return fmt::format("cpus [{}]", cpu_list(group.cpus));
  if (group.cpus.size() == all) return "all CPUs";
  if (group.cpus.size() == 1) return fmt::format("cpu {}", group.cpus[0]);
  const bool range = group.cpus.back() - group.cpus.front() + 1 == group.cpus.size();
  return range ? fmt::format("cpus {}", cpu_list(group.cpus)) : fmt::format("cpus [{}]", cpu_list(group.cpus));
}

// Which members of the structs differ; nothing when a table cannot show them.
std::optional<std::vector<std::size_t>> varying(const std::vector<Group>& groups) {
  if (groups.size() < kLeastTableGroups) return std::nullopt;
  std::vector<std::size_t> fields;
  std::vector<const NamedValue*> first;
  for (const Group& group : groups) {
    if (group.value == nullptr || group.cpus.size() != 1) return std::nullopt;
    const auto* value = std::get_if<Struct>(&group.value->v);
    if (value == nullptr) return std::nullopt;
    const auto members = all_members(*value);
    if (first.empty()) first = members;
    if (members.size() != first.size()) return std::nullopt;
    for (std::size_t i = 0; i < members.size(); ++i)
      if (!same(members[i]->value, first[i]->value) && std::find(fields.begin(), fields.end(), i) == fields.end()) fields.push_back(i);
  }
  if (fields.empty() || fields.size() > kMostTableFields) return std::nullopt;
  std::sort(fields.begin(), fields.end());
  return fields;
}

// One line for a cell: a struct or an array that needs more is shown by its kind.
std::string cell(const Value& value) {
  const std::string text = to_text(value);
  return text.find('\n') == std::string::npos ? text : "...";
}

std::string table_text(const std::vector<Group>& groups, const std::vector<std::size_t>& fields, int depth) {
  const auto first = all_members(std::get<Struct>(groups.front().value->v));
  std::string out;
  for (std::size_t i = 0; i < first.size(); ++i)
    if (!is_zero(first[i]->value) && std::find(fields.begin(), fields.end(), i) == fields.end())
      out += fmt::format("{}{}: {}\n", indent(depth + 1), clean(first[i]->name), to_text(first[i]->value, depth + 1));
  if (!out.empty()) out = indent(depth) + "common:\n" + out;
  std::vector<std::string> header{"cpu"}, before{""};
  for (const std::size_t i : fields) {
    header.push_back(clean(first[i]->name));
    before.emplace_back(" | ");
  }
  TextTable table(std::move(header), std::move(before));
  table.widen(0, kCpuColumn);
  for (const Group& group : groups) {
    const auto members = all_members(std::get<Struct>(group.value->v));
    std::vector<std::string> row{std::to_string(group.cpus[0])};
    for (const std::size_t i : fields) row.push_back(cell(members[i]->value));
    table.add(std::move(row));
  }
  return out + indent(depth) + "per-cpu:\n" + table.text(static_cast<std::size_t>(depth + 1) * 2);
}

std::string groups_text(const std::vector<Group>& groups, std::size_t all, int depth) {
  std::string out;
  for (const Group& group : groups)
    out += fmt::format("{}{}: {}\n", indent(depth), group_label(group, all), group.value ? to_text(*group.value, depth) : "<unmapped>");
  return out;
}

}  // namespace

std::string percpu_lines(const PerCpu& per_cpu, int depth) {
  std::string out;
  for (std::size_t cpu = 0; cpu < per_cpu.size(); ++cpu)
    out += fmt::format("{}cpu {}: {}\n", indent(depth), cpu, per_cpu[cpu] ? to_text(*per_cpu[cpu], depth) : "<unmapped>");
  return out;
}

std::string percpu_text(const std::string& label, const PerCpu& per_cpu, int depth) {
  std::size_t structs = 0;
  bool with_members = true;
  const Struct* first = nullptr;
  for (const auto& value : per_cpu) {
    const auto* is_struct = value ? std::get_if<Struct>(&value->v) : nullptr;
    if (is_struct == nullptr) continue;
    ++structs;
    with_members = with_members && !is_struct->members.empty();
    if (first == nullptr) first = is_struct;
  }
  if (structs < 2 || !with_members) return indent(depth) + label + ":\n" + percpu_lines(per_cpu, depth + 1);
  const bool named = first->type_name && !first->type_name->empty();
  const std::string head =
      fmt::format("{}{}: struct {}({} CPUs)\n", indent(depth), label, named ? clean(*first->type_name) + " " : "", per_cpu.size());
  if (per_cpu.size() > kMostGroupedCpus) return head + percpu_lines(per_cpu, depth + 1);
  const auto groups = groups_of(per_cpu);
  if (const auto fields = varying(groups)) return head + table_text(groups, *fields, depth + 1);
  return head + groups_text(groups, per_cpu.size(), depth + 1);
}

}  // namespace floe::freeze::dump
