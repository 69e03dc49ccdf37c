// The report of a memory that a command was given, or the one that a file holds.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "cli/memory_source.hpp"
#include "freeze/dump/model.hpp"

namespace floe::cli {

struct ReportOptions {
  std::chrono::nanoseconds deadline = std::chrono::seconds(10);
  std::optional<std::uint64_t> max_entries;  // of every list that has a cap; 0: all
  std::string scheduler;                     // its executable, which tells the pointers that it keeps in integers; may be empty
};

// Error: no kernel in it, or a scheduler's file that cannot be read. Everything else that is not there is said in the report.
Result<freeze::dump::Report> report_of(const MemorySource& source, const ReportOptions& options);

// Whether a file is meant to be a failure dump: it begins as JSON does.
bool looks_like_dump(const std::string& path);
Result<std::string> read_dump(const std::string& path);

}  // namespace floe::cli
