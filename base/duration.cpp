#include "base/duration.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace floe {

using std::chrono::nanoseconds;

Result<nanoseconds> parse_duration(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string_view unit = end;
  const double scale = unit.empty() || unit == "s" ? 1
                       : unit == "ms"              ? 1e-3
                       : unit == "us"              ? 1e-6
                       : unit == "m"               ? 60
                       : unit == "h"               ? 3600
                                                   : 0;
  if (end == text.c_str() || scale == 0 || !std::isfinite(number) || number < 0 || number * scale > 1e9)
    return fail("'" + text + "' is no time: write for example 250ms, 30s, 5m or 1h");
  return nanoseconds(static_cast<std::int64_t>(number * scale * 1e9));
}

std::string format_duration(nanoseconds duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + "s" : std::to_string(ms) + "ms";
}

}  // namespace floe
