#include "freeze/latch_name.hpp"

#include <fmt/format.h>

#include <charconv>

namespace floe::freeze {
namespace {

constexpr std::size_t kMostMapName = 15;  // BPF_OBJ_NAME_LEN with its NUL is 16

}  // namespace

Result<LatchName> parse_latch(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(fmt::format("'{}' is no latch, which is written MAP:VARIABLE or MAP:VARIABLE:AT_LEAST: {}", text, why));
  };
  LatchName latch;
  const auto first = text.find(':');
  if (first == text.npos) return refuse("there is no colon");
  latch.map = text.substr(0, first);
  std::string_view rest = text.substr(first + 1);
  if (const auto second = rest.find(':'); second != rest.npos) {
    const std::string_view number = rest.substr(second + 1);
    rest = rest.substr(0, second);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), latch.at_least);
    if (error != std::errc() || end != number.data() + number.size() || latch.at_least == 0)
      return refuse("AT_LEAST is a number from 1 to 4294967295");
  }
  latch.variable = rest;
  if (latch.map.empty() || latch.variable.empty()) return refuse("a name is missing");
  if (latch.map.size() > kMostMapName)
    return refuse(fmt::format("the kernel keeps {} bytes of a map's name, `bpftool map` and a report's maps show them", kMostMapName));
  return latch;
}

}  // namespace floe::freeze
