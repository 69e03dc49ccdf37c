// What `floe show` prints of a failure dump, from a file or of a memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/exit.hpp"
#include "freeze/dump/model.hpp"

namespace floe::cli {

struct ReportView {
  std::string map;                   // this map alone
  std::optional<std::int32_t> task;  // this task alone
  bool json = false;
};

// `name` stands in the errors. Of a pair the later one has the maps and tasks that are asked for.
Verdict show_report(const std::string& name, const freeze::dump::AnyReport& report, const ReportView& view);

}  // namespace floe::cli
