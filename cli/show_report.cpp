#include "cli/show_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "freeze/dump/json.hpp"
#include "freeze/dump/text_map.hpp"
#include "freeze/dump/text_report.hpp"

namespace floe::cli {
namespace {

using namespace freeze::dump;

// The reports of single instants in it, that of the end first: what it no longer has, the early one may.
std::vector<const Report*> instants(const AnyReport& report) {
  std::vector<const Report*> all;
  if (const auto* dual = std::get_if<DualReport>(&report)) {
    all.push_back(&dual->late);
    if (dual->early) all.push_back(&*dual->early);
  } else if (const auto* one = std::get_if<Report>(&report)) {
    all.push_back(one);
  }
  return all;
}

Verdict show_map(const std::string& name, const std::vector<const Report*>& reports, const ReportView& view) {
  std::string names;
  for (const Report* report : reports) {
    const auto found = std::find_if(report->maps.begin(), report->maps.end(), [&](const auto& map) { return map.name == view.map; });
    if (found != report->maps.end()) {
      fmt::print("{}\n", view.json ? to_json(*found) : to_text(*found));
      return {};
    }
    for (const auto& map : report->maps) names += " " + map.name;
  }
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
  const auto reports = instants(report);
  if (reports.empty()) return {Exit::kUsage, name + ": a degraded dump has neither maps nor tasks"};
  if (!view.map.empty()) return show_map(name, reports, view);
  for (const Report* one : reports)
    if (const auto task = task_text(*one, *view.task)) {
      fmt::print("{}\n", *task);
      return {};
    }
  return {Exit::kUsage, fmt::format("{}: no task with pid {} among {}", name, *view.task, reports.front()->task_enrichments.size())};
}

}  // namespace floe::cli
