#include "freeze/scenario/json.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <optional>

#include "base/utf8.hpp"

namespace floe::freeze::scenario {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr unsigned kMaxDepth = 64;

Place place_of(std::string_view text, std::size_t offset) {
  Place place;
  for (std::size_t i = 0; i < offset;) {
    place.column += 1;
    if (text[i] == '\n') place = {place.line + 1, 1};
    i += std::max<std::size_t>(utf8_length(text.substr(i)), 1);
  }
  return place;
}

// Walks the text once, front to back, so that a place costs only the way from the last one.
class Places {
 public:
  explicit Places(std::string_view text) : text_(text) {}
  Place at(const char* pointer) {
    const auto offset = static_cast<std::size_t>(pointer - text_.data());
    if (offset < at_) return place_of(text_, std::min(offset, text_.size()));
    const Place step = place_of(text_.substr(at_), std::min(offset, text_.size()) - at_);
    place_ = step.line == 1 ? Place{place_.line, place_.column + step.column - 1} : Place{place_.line + step.line - 1, step.column};
    at_ = std::min(offset, text_.size());
    return place_;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  Place place_;
};

Error error_at(Place place, std::string_view what) {
  return Error(fmt::format("{}:{}: {}", place.line, place.column, what));
}

class TreeReader {
 public:
  explicit TreeReader(std::string_view text) : text_(text), places_(text) {}

  Result<Json> read(ondemand::document& document) {
    ondemand::value root;
    if (document.get_value().get(root) != simdjson::SUCCESS) {
      if (!ondemand_scalar(document)) return fail(error_at(where(document), "this is no JSON value"));
      return fail(
          error_at(place_of(text_, std::min(text_.find_first_not_of(" \t\r\n"), text_.size())), "an object is expected here: {...}"));
    }
    Json json;
    const bool good = read(root, json, 0);
    if (!good) return fail(wrong_ ? std::move(*wrong_) : error_at(where(document), simdjson::error_message(code_)));
    if (const char* rest = nullptr; document.current_location().get(rest) == simdjson::SUCCESS)
      return fail(error_at(where(document), "something follows behind the end"));
    return json;
  }

 private:
  static bool ondemand_scalar(ondemand::document& document) {
    bool scalar = false;
    return document.is_scalar().get(scalar) == simdjson::SUCCESS && scalar;
  }

  Place where(ondemand::document& document) {
    const char* at = nullptr;
    if (document.current_location().get(at) != simdjson::SUCCESS || at < text_.data() || at > text_.data() + text_.size())
      return place_of(text_, text_.size());
    return place_of(text_, static_cast<std::size_t>(at - text_.data()));
  }

  // Whether it went well; if not, the parser stands where it did not.
  bool good(simdjson::error_code code) {
    if (code != simdjson::SUCCESS && code_ == simdjson::SUCCESS) code_ = code;
    return code == simdjson::SUCCESS;
  }
  bool fault(Place place, std::string what) {
    wrong_ = error_at(place, what);
    return false;
  }

  bool read(ondemand::value value, Json& json, unsigned depth) {
    const std::string_view token = value.raw_json_token();
    json.place = places_.at(token.data());
    if (depth >= kMaxDepth) return fault(json.place, fmt::format("more than {} brackets inside of each other", kMaxDepth));
    ondemand::json_type type;
    if (!good(value.type().get(type))) return false;
    switch (type) {
      case ondemand::json_type::array:
        return read_list(value, json, depth);
      case ondemand::json_type::object:
        return read_object(value, json, depth);
      case ondemand::json_type::number: {
        double number = 0;
        json.kind = Json::Kind::kNumber;
        json.text = token.substr(0, token.find_first_of(" \t\r\n,]}"));
        return good(value.get_double().get(number));
      }
      case ondemand::json_type::string: {
        std::string_view text;
        json.kind = Json::Kind::kText;
        if (!good(value.get_string().get(text))) return false;
        json.text = text;
        return true;
      }
      case ondemand::json_type::boolean:
        json.kind = Json::Kind::kBool;
        return good(value.get_bool().get(json.truth));
      case ondemand::json_type::null: {
        bool null = false;
        return good(value.is_null().get(null)) && (null || good(simdjson::N_ATOM_ERROR));
      }
    }
    return false;
  }

  bool read_list(ondemand::value& value, Json& json, unsigned depth) {
    json.kind = Json::Kind::kList;
    ondemand::array list;
    if (!good(value.get_array().get(list))) return false;
    for (auto element : list) {
      ondemand::value item;
      if (!good(std::move(element).get(item))) return false;
      if (!read(item, json.items.emplace_back(), depth + 1)) return false;
    }
    return true;
  }

  bool read_object(ondemand::value& value, Json& json, unsigned depth) {
    json.kind = Json::Kind::kObject;
    ondemand::object object;
    if (!good(value.get_object().get(object))) return false;
    for (auto found : object) {
      ondemand::field field;
      if (!good(std::move(found).get(field))) return false;
      const Place place = places_.at(field.key().raw() - 1);
      std::string_view key;
      if (!good(field.unescaped_key().get(key))) return false;
      for (const auto& member : json.members) {
        if (member.key == key) return fault(place, fmt::format("\"{}\" stands twice in this object", key));
      }
      Json::Member& member = json.members.emplace_back();
      member.key = key;
      member.place = place;
      if (!read(field.value(), member.value, depth + 1)) return false;
    }
    return true;
  }

  std::string_view text_;
  Places places_;
  simdjson::error_code code_ = simdjson::SUCCESS;
  std::optional<Error> wrong_;
};

// The first byte that belongs to no character, if any.
std::size_t first_bad_byte(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return text.npos;
}

}  // namespace

std::string describe(const Json& json) {
  switch (json.kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBool:
      return json.truth ? "true" : "false";
    case Json::Kind::kNumber:
      return "the number " + json.text;
    case Json::Kind::kText:
      return "\"" + json.text.substr(0, 80) + "\"";
    case Json::Kind::kList:
      return "a list";
    case Json::Kind::kObject:
      return "an object";
  }
  return {};
}

Result<Json> read_json(std::string_view text) {
  if (const std::size_t bad = first_bad_byte(text); bad != text.npos) return fail(error_at(place_of(text, bad), "this is no UTF-8"));
  const simdjson::padded_string padded(text);
  const std::string_view kept(padded.data(), padded.size());
  ondemand::parser parser;
  ondemand::document document;
  if (const auto code = parser.iterate(padded).get(document); code != simdjson::SUCCESS)
    return fail(error_at(place_of(kept, kept.size()), simdjson::error_message(code)));
  return TreeReader(kept).read(document);
}

}  // namespace floe::freeze::scenario
