// Values of an assertion against each other, and steps in words.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "base/duration.hpp"
#include "freeze/scenario/run.hpp"

namespace floe::freeze::scenario {
namespace {

// Wide enough for both kinds of 64-bit integers.
__extension__ using Wide = __int128;

std::optional<Wide> integer_of(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? -Wide{value} : Wide{value};
}

std::optional<double> number_of(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value)) return std::nullopt;
  return value;
}

template <class T>
bool holds(const T& left, Assert::Relation relation, const T& right) {
  switch (relation) {
    case Assert::Relation::kEqual:
      return left == right;
    case Assert::Relation::kNotEqual:
      return left != right;
    case Assert::Relation::kLess:
      return left < right;
    case Assert::Relation::kAtMost:
      return left <= right;
    case Assert::Relation::kMore:
      return left > right;
    case Assert::Relation::kAtLeast:
      return left >= right;
    case Assert::Relation::kContains:
      break;
  }
  return false;
}

std::string shortened(const std::string& text) {
  constexpr std::size_t kMost = 200;
  const auto cut = vmm::wire::cut_text(text, kMost);
  return fmt::format("\"{}\"{}", cut, cut.size() < text.size() ? "..." : "");
}

std::string operand_text(const Operand& operand) {
  if (const auto* read = std::get_if<OfRead>(&operand)) return "read " + read->name;
  if (const auto* report = std::get_if<OfReport>(&operand)) return "report " + report->capture + " " + report->path;
  if (const auto* process = std::get_if<OfProcess>(&operand)) return "process " + process->name;
  if (const auto* procs = std::get_if<OfProcs>(&operand)) return (procs->count ? "count of procs " : "procs ") + procs->name;
  return shortened(std::get<Constant>(operand).text);
}

struct Objects {
  std::string operator()(const StartScheduler& step) const { return step.program.command.front(); }
  std::string operator()(const AttachScheduler& step) const { return step.ops; }
  std::string operator()(const ReplaceScheduler& step) const { return step.program.command.front(); }
  std::string operator()(const StopScheduler&) const { return {}; }
  std::string operator()(const Spawn& step) const {
    std::string names;
    for (const auto& workers : step.workers) names += (names.empty() ? "" : ", ") + workers.name;
    return names;
  }
  std::string operator()(const RunProgram& step) const { return step.name; }
  std::string operator()(const StopProcess& step) const { return step.name; }
  std::string operator()(const MakeCgroup& step) const { return step.path; }
  std::string operator()(const RemoveCgroup& step) const { return step.path; }
  std::string operator()(const WaitTime& step) const { return format_duration(step.time); }
  std::string operator()(const WaitProcess& step) const { return step.name; }
  std::string operator()(const Capture& step) const { return step.name; }
  std::string operator()(const Watch& step) const { return step.symbol; }
  std::string operator()(const KernelOp& step) const { return step.name; }
  std::string operator()(const CaptureProcs& step) const { return step.name; }
  std::string operator()(const Assert& step) const {
    return fmt::format("{} {} {}", operand_text(step.left), name_of(step.relation), operand_text(step.right));
  }
};

}  // namespace

std::string describe(const Action& action) {
  const std::string object = std::visit(Objects{}, action);
  return fmt::format("{}{}{}", name_of(action), object.empty() ? "" : " ", object);
}

Result<> compare(const std::string& left, Assert::Relation relation, const std::string& right) {
  using Relation = Assert::Relation;
  const auto verdict = [&](bool good) -> Result<> {
    if (good) return {};
    const char* not_so = relation == Relation::kContains ? "does not contain" : "is not";
    return fail(fmt::format("{} {} {}{}{}", shortened(left), not_so, relation == Relation::kContains ? "" : name_of(relation),
                            relation == Relation::kContains ? "" : " ", shortened(right)));
  };
  if (relation == Relation::kContains) return verdict(left.find(right) != left.npos);
  const auto left_integer = integer_of(left), right_integer = integer_of(right);
  if (left_integer && right_integer) return verdict(holds(*left_integer, relation, *right_integer));
  const auto left_number = number_of(left), right_number = number_of(right);
  if (left_number && right_number) return verdict(holds(*left_number, relation, *right_number));
  if (relation == Relation::kEqual || relation == Relation::kNotEqual) return verdict(holds(left, relation, right));
  return fail(fmt::format("{} is no number: {} compares numbers", shortened(left_number ? right : left), name_of(relation)));
}

}  // namespace floe::freeze::scenario
