// What a page of a real kernel costs to hash, to store, to compress and to read back, and what a history of real snapshots takes. The input
// is what a run has kept: OUT/snapshots of `floe run --keep-snapshots`. Random or made-up pages would say nothing: how many are equal, and
// how well they compress, is what decides.
#pragma once

#include <string>

#include "base/result.hpp"
#include "bench/report/report.hpp"
#include "bench/report/settings.hpp"

namespace floe::bench {

// Rows pages.hash, pages.store, pages.compress, pages.read and pages.history, from the snapshots in `folder`. Error: there are none, or
// they cannot be read. Without a folder: one row that says why there is nothing.
Result<> page_rows(const Settings& settings, const std::string& folder, Report& report);

}  // namespace floe::bench
