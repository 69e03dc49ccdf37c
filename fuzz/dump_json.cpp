// A failure dump's JSON: what is read must be written such that reading it again gives the same.
#include <cstdlib>
#include <string_view>

#include "freeze/dump/json.hpp"

using namespace floe::freeze::dump;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto report = parse_report(json);
  if (!report) {
    if (report.error().message.empty()) std::abort();
    (void)parse_value(json);
    return 0;
  }
  const std::string once = to_json(*report);
  const auto again = parse_report(once);
  if (!again || to_json(*again) != once) std::abort();
  return 0;
}
