#include "freeze/dump/path.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <charconv>
#include <optional>

#include "freeze/dump/json.hpp"
#include "freeze/dump/text_value.hpp"
#include "freeze/dump/value_access.hpp"

namespace floe::freeze::dump {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kMaxJsonDepth = 1024;
constexpr const char* kNames[] = {"name", "allocator_name", "instance_name", "section", "path"};
constexpr const char* kNumbers[] = {"pid", "cpu", "id", "node", "key"};

std::optional<std::uint64_t> number(std::string_view text) {
  const int base = text.starts_with("0x") ? 16 : 10;
  if (base == 16) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// A place in the document, and what of the path leads on from there.
struct Step {
  dom::element element;
  std::string_view rest;
};

std::string_view behind(std::string_view path, std::size_t length) {
  path.remove_prefix(length);
  if (path.starts_with('.')) path.remove_prefix(1);
  return path;
}

// The element whose name begins the path.
std::optional<Step> by_name(dom::array list, std::string_view path) {
  for (const dom::element element : list)
    for (const char* key : kNames) {
      std::string_view name;
      if (element[key].get(name) != simdjson::SUCCESS || name.empty() || !path.starts_with(name)) continue;
      if (path.size() == name.size() || path[name.size()] == '.') return Step{element, behind(path, name.size())};
    }
  return std::nullopt;
}

std::optional<Step> by_number(dom::array list, std::string_view part, std::string_view rest) {
  const auto wanted = number(part);
  if (!wanted) return std::nullopt;
  for (const char* key : kNumbers)
    for (const dom::element element : list) {
      std::uint64_t value = 0;
      if (element[key].get(value) == simdjson::SUCCESS && value == *wanted) return Step{element, rest};
    }
  dom::element element;
  if (list.at(*wanted).get(element) != simdjson::SUCCESS) return std::nullopt;
  return Step{element, rest};
}

std::optional<Step> next(dom::element at, std::string_view path) {
  const std::string_view part = path.substr(0, path.find('.'));
  const std::string_view rest = behind(path, part.size());
  dom::object object;
  if (at.get(object) == simdjson::SUCCESS) {
    dom::element found;
    if (object[part].get(found) != simdjson::SUCCESS) return std::nullopt;
    return Step{found, rest};
  }
  dom::array list;
  if (at.get(list) != simdjson::SUCCESS) return std::nullopt;
  if (auto named = by_name(list, path)) return named;
  return by_number(list, part, rest);
}

bool is_value(dom::element at) {
  std::string_view kind;
  dom::object object;
  return at.get(object) == simdjson::SUCCESS && object["kind"].get(kind) == simdjson::SUCCESS;
}

Result<Found> found(dom::element at) {
  Found made;
  made.json = simdjson::minify(at);
  std::string_view text;
  made.text = at.get(text) == simdjson::SUCCESS ? std::string(text) : made.json;
  return made;
}

Result<Found> in_value(dom::element at, std::string_view path, std::string_view way) {
  const auto value = parse_value(simdjson::minify(at));
  if (!value) return fail(fmt::format("{}: {}", way, value.error().message));
  const auto* const inner = get(*value, path);
  if (inner == nullptr) return fail(fmt::format("{}: the value there has no '{}': {}", way, path, to_text(*value).substr(0, kLineWidth)));
  return Found{to_json(*inner), to_text(*inner)};
}

std::string keys(dom::element at) {
  dom::object object;
  if (at.get(object) != simdjson::SUCCESS) {
    dom::array list;
    return at.get(list) == simdjson::SUCCESS ? fmt::format("a list of {}", list.size()) : "no object";
  }
  std::string names;
  for (const auto field : object) names += (names.empty() ? "" : " ") + std::string(field.key);
  return "an object with " + names;
}

}  // namespace

Result<Found> find(std::string_view json, std::string_view path) {
  dom::parser parser;
  if (const auto allocated = parser.allocate(json.size(), kMaxJsonDepth); allocated != simdjson::SUCCESS)
    return fail(std::string(simdjson::error_message(allocated)));
  dom::element at;
  if (const auto parsed = parser.parse(json.data(), json.size()).get(at); parsed != simdjson::SUCCESS)
    return fail(fmt::format("no JSON: {}", simdjson::error_message(parsed)));
  std::string_view rest = path;
  for (;;) {
    const std::string_view way = path.substr(0, path.size() - rest.size());
    if (is_value(at)) return in_value(at, rest, way);
    if (rest.empty()) return found(at);
    const auto step = next(at, rest);
    if (!step) return fail(fmt::format("'{}' is not in '{}', which is {}", rest, way, keys(at)));
    at = step->element;
    rest = step->rest;
  }
}

}  // namespace floe::freeze::dump
