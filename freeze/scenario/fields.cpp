#include "freeze/scenario/fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/duration.hpp"

namespace floe::freeze::scenario {
namespace {

std::string listed(const auto& names) {
  std::string text;
  for (const auto& name : names) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
  return text;
}

template <class T>
bool parse(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

void Reading::wrong(Place place, std::string_view path, std::string_view what) {
  if (error) return;
  error = Error(fmt::format("{}:{}:{}: {}{}{}", file, place.line, place.column, path, path.empty() ? "" : ": ", what));
}

Fields::Fields(Reading& reading, const Json& object, std::string path) : reading_(reading), json_(object), path_(std::move(path)) {
  if (json_.kind != Json::Kind::kObject) reading_.wrong(json_.place, path_, fmt::format("is {}, not an object: {{...}}", describe(json_)));
}

std::string Fields::path(std::string_view key) const {
  return fmt::format("{}{}{}", path_, path_.empty() ? "" : ".", key);
}

const Json::Member* Fields::find(std::string_view key) const {
  const auto found = std::find_if(json_.members.begin(), json_.members.end(), [key](const auto& member) { return member.key == key; });
  return found == json_.members.end() ? nullptr : &*found;
}

void Fields::wrong(std::string_view key, std::string_view what) {
  const Json::Member* member = find(key);
  reading_.wrong(member != nullptr ? member->value.place : json_.place, path(key), what);
}

bool Fields::fault(const Json& json, std::string_view key, std::string_view expected) {
  reading_.wrong(json.place, path(key), fmt::format("is {}, not {}", describe(json), expected));
  return false;
}

const Json* Fields::look(std::string_view key, bool required) {
  asked_.emplace_back(key);
  if (!reading_.good()) return nullptr;
  const Json::Member* member = find(key);
  if (member != nullptr) return &member->value;
  if (required) reading_.wrong(json_.place, path(key), "is missing");
  return nullptr;
}

const Json* Fields::look(std::string_view key, bool required, Json::Kind kind, std::string_view expected) {
  const Json* json = look(key, required);
  if (json == nullptr || json->kind == kind) return json;
  fault(*json, key, expected);
  return nullptr;
}

const Json* Fields::value(std::string_view key) {
  return look(key, true);
}

const Json* Fields::object(std::string_view key) {
  return look(key, true, Json::Kind::kObject, "an object: {...}");
}

const Json* Fields::list(std::string_view key, std::size_t least, std::size_t most) {
  const Json* json = look(key, least != 0, Json::Kind::kList, "a list: [...]");
  if (json == nullptr) return nullptr;
  if (json->items.size() >= least && json->items.size() <= most) return json;
  reading_.wrong(json->place, path(key), fmt::format("has {} elements; {} to {} are possible", json->items.size(), least, most));
  return nullptr;
}

std::string Fields::name(std::string_view key, std::size_t most) {
  const Json* json = look(key, true, Json::Kind::kText, "a text");
  if (json == nullptr) return {};
  if (json->text.empty() || json->text.size() > most || json->text.find('\0') != std::string::npos) {
    wrong(key, fmt::format("has {} bytes; 1 to {} without NUL are possible", json->text.size(), most));
    return {};
  }
  return json->text;
}

std::string Fields::text(std::string_view key, std::string_view otherwise) {
  const Json* json = look(key, false, Json::Kind::kText, "a text");
  return json == nullptr ? std::string(otherwise) : json->text;
}

std::vector<std::string> Fields::words(std::string_view key, std::size_t least) {
  std::vector<std::string> words;
  const Json* json = list(key, least, 1024);
  for (std::size_t i = 0; json != nullptr && i < json->items.size(); ++i) {
    const Json& item = json->items[i];
    if (item.kind != Json::Kind::kText) fault(item, fmt::format("{}[{}]", key, i), "a text");
    if (item.text.find('\0') != std::string::npos) reading_.wrong(item.place, path(key), "a word contains a NUL byte");
    words.push_back(item.text);
  }
  if (!reading_.good()) words.clear();
  return words;
}

std::vector<std::pair<std::string, std::string>> Fields::texts(std::string_view key) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const Json* json = look(key, false, Json::Kind::kObject, "an object: {...}");
  if (json == nullptr) return pairs;
  for (const auto& member : json->members) {
    if (member.value.kind != Json::Kind::kText) fault(member.value, fmt::format("{}.{}", key, member.key), "a text");
    pairs.emplace_back(member.key, member.value.text);
  }
  return pairs;
}

std::int64_t Fields::integer(std::string_view key, std::optional<std::int64_t> otherwise, std::int64_t least, std::int64_t most) {
  const std::string expected = fmt::format("an integer from {} to {}", least, most);
  const Json* json = look(key, !otherwise, Json::Kind::kNumber, expected);
  std::int64_t value = otherwise.value_or(least);
  if (json == nullptr) return value;
  if (!parse(json->text, value) || value < least || value > most) {
    fault(*json, key, expected);
    return otherwise.value_or(least);
  }
  return value;
}

std::uint64_t Fields::number(std::string_view key) {
  const Json* json = look(key, true);
  if (json == nullptr) return 0;
  std::uint64_t value = 0;
  const bool hex = json->kind == Json::Kind::kText && json->text.starts_with("0x");
  const std::string_view digits = std::string_view(json->text).substr(hex ? 2 : 0);
  const bool kind = json->kind == Json::Kind::kNumber || json->kind == Json::Kind::kText;
  if (!kind || !parse(digits, value, hex ? 16 : 10)) fault(*json, key, "a number of 64 bits like 4096 or \"0xffffffff81000000\"");
  return value;
}

std::vector<std::byte> Fields::hex(std::string_view key, std::size_t most) {
  std::vector<std::byte> bytes;
  std::string digits;
  for (const char c : name(key, 3 * most)) {
    if (c != ' ') digits += c;
  }
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    std::uint8_t byte = 0;
    const std::string_view pair = std::string_view(digits).substr(i, 2);
    if (pair.size() == 2 && parse(pair, byte, 16)) {
      bytes.push_back(static_cast<std::byte>(byte));
      continue;
    }
    wrong(key, "is no bytes like \"00 ff 1a\"");
    return {};
  }
  return bytes;
}

bool Fields::truth(std::string_view key, bool otherwise) {
  const Json* json = look(key, false, Json::Kind::kBool, "true or false");
  return json == nullptr ? otherwise : json->truth;
}

std::chrono::nanoseconds Fields::duration(std::string_view key, std::chrono::nanoseconds most) {
  const Json* json = look(key, true);
  if (json == nullptr) return {};
  if (json->kind != Json::Kind::kText && json->kind != Json::Kind::kNumber) {
    fault(*json, key, "a time like \"250ms\", \"30s\" or 2.5 (seconds)");
    return {};
  }
  const auto parsed = parse_duration(json->text);
  if (!parsed) {
    wrong(key, parsed.error().message);
    return {};
  }
  if (parsed->count() == 0 || *parsed > most) {
    wrong(key, fmt::format("is {}; more than 0 and at most {} is possible", format_duration(*parsed), format_duration(most)));
    return {};
  }
  return *parsed;
}

std::chrono::nanoseconds Fields::duration(std::string_view key, std::chrono::nanoseconds otherwise, std::chrono::nanoseconds most) {
  if (has(key)) return duration(key, most);
  asked_.emplace_back(key);
  return otherwise;
}

std::size_t Fields::choice(std::string_view key, std::span<const std::string_view> allowed, std::optional<std::size_t> otherwise) {
  const Json* json = look(key, !otherwise);
  if (json == nullptr) {
    // Missing: what would be right helps more than that it is missing.
    if (reading_.error && !otherwise && find(key) == nullptr && reading_.error->message.ends_with(path(key) + ": is missing"))
      reading_.error->message += fmt::format("; one of {}", listed(allowed));
    return otherwise.value_or(0);
  }
  const auto found = json->kind == Json::Kind::kText ? std::find(allowed.begin(), allowed.end(), json->text) : allowed.end();
  if (found != allowed.end()) return static_cast<std::size_t>(found - allowed.begin());
  fault(*json, key, "one of " + listed(allowed));
  return otherwise.value_or(0);
}

std::string_view Fields::one_of(std::span<const std::string_view> keys) {
  for (const auto key : keys) asked_.emplace_back(key);
  std::string_view found;
  for (const auto key : keys) {
    if (!has(key)) continue;
    if (!found.empty()) wrong(key, fmt::format("stands beside {}; one of them is possible", found));
    found = key;
  }
  if (!found.empty()) return found;
  reading_.wrong(json_.place, path_, "needs one of " + listed(keys));
  return keys.front();
}

void Fields::end() {
  if (!reading_.good()) return;
  for (const auto& member : json_.members) {
    if (std::find(asked_.begin(), asked_.end(), member.key) != asked_.end()) continue;
    reading_.wrong(member.place, path(member.key), "is no key of this; there are " + listed(asked_));
  }
}

}  // namespace floe::freeze::scenario
