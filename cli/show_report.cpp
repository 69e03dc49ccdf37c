#include "cli/show_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "freeze/dump/json.hpp"
#include "freeze/dump/text_map.hpp"
#include "freeze/dump/text_report.hpp"

namespace floe::cli {
namespace {

using namespace freeze::dump;

const Report* single(const AnyReport& report) {
  if (const auto* dual = std::get_if<DualReport>(&report)) return &dual->late;
  return std::get_if<Report>(&report);
}

Verdict show_map(const std::string& name, const Report& report, const ReportView& view) {
  const auto found = std::find_if(report.maps.begin(), report.maps.end(), [&](const auto& map) { return map.name == view.map; });
  if (found != report.maps.end()) {
    fmt::print("{}\n", view.json ? to_json(*found) : to_text(*found));
    return {};
  }
  std::string names;
  for (const auto& map : report.maps) names += " " + map.name;
  return {Exit::kUsage, fmt::format("{}: no map '{}'; there are:{}", name, view.map, names.empty() ? " none" : names)};
}

}  // namespace

Verdict show_report(const std::string& name, const AnyReport& report, const ReportView& view) {
  if (view.map.empty() && !view.task) {
    std::string text = view.json ? to_json(report) : to_text(report);
    if (text.empty() || text.back() != '\n') text += '\n';
    fmt::print("{}", text);
    return {};
  }
  const Report* const one = single(report);
  if (one == nullptr) return {Exit::kUsage, name + ": a degraded dump has neither maps nor tasks"};
  if (!view.map.empty()) return show_map(name, *one, view);
  const auto task = task_text(*one, *view.task);
  if (!task) return {Exit::kUsage, fmt::format("{}: no task with pid {} among {}", name, *view.task, one->task_enrichments.size())};
  fmt::print("{}\n", *task);
  return {};
}

}  // namespace floe::cli
