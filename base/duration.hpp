// Times as people write them.
#pragma once

#include <chrono>
#include <string>

#include "base/result.hpp"

namespace floe {

// "250ms", "30s", "5m", "1h", or a bare number of seconds. Errors name the text.
Result<std::chrono::nanoseconds> parse_duration(const std::string& text);
std::string format_duration(std::chrono::nanoseconds duration);

}  // namespace floe
