#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "freeze/dump/json.hpp"
#include "freeze/dump/schema.hpp"

namespace floe::freeze::dump {
namespace {

namespace dom = simdjson::dom;
using walkers::render::Value;

constexpr std::size_t kMaxJsonDepth = 1024;  // of brackets

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Reads into records, member by member. The first thing that is wrong ends it; error() then says where it stood and what it was.
//
// There are hundreds of members of some sixty types: what is done for each of them stands in functions of their own, for the compiler's
// sake, above all a compiler's that adds checks.
class In {
 public:
  bool get(dom::element json, bool& value) { return json.get(value) == simdjson::SUCCESS || wrong("is not true or false"); }
  bool get(dom::element json, double& value) {
    if (json.is_null()) {  // what JSON has no number for
      value = std::numeric_limits<double>::quiet_NaN();
      return true;
    }
    return json.get(value) == simdjson::SUCCESS || wrong("is no number");
  }
  template <std::signed_integral T>
  bool get(dom::element json, T& value) {
    std::int64_t wide = 0;
    if (json.get(wide) != simdjson::SUCCESS) return wrong("is no 64-bit integer");
    return narrow(wide, value);
  }
  template <std::unsigned_integral T>
  bool get(dom::element json, T& value) {
    std::uint64_t wide = 0;
    if (json.get(wide) != simdjson::SUCCESS) return wrong("is no unsigned 64-bit integer");
    return narrow(wide, value);
  }
  bool get(dom::element json, std::string& text) {
    std::string_view found;
    if (json.get(found) != simdjson::SUCCESS) return wrong("is no text");
    text = found;
    return true;
  }
  bool get(dom::element json, std::vector<std::byte>& bytes) {
    std::string_view text;
    if (json.get(text) != simdjson::SUCCESS) return wrong("is no text");
    if (!text.empty() && text.size() % 3 != 2) return wrong("is no hex text");
    bytes.reserve((text.size() + 1) / 3);
    for (std::size_t i = 0; i < text.size(); i += 3) {
      const int high = digit(text[i]);
      const int low = digit(text[i + 1]);
      if (high < 0 || low < 0 || (i + 2 < text.size() && text[i + 2] != ' ')) return wrong("is no hex text");
      bytes.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return true;
  }
  template <class T>
  bool get(dom::element json, std::vector<T>& list) {
    dom::array elements;
    if (json.get(elements) != simdjson::SUCCESS) return wrong("is no array");
    for (const dom::element element : elements) {
      const Place place(*this, list.size());
      T& added = list.emplace_back();
      if (!get(element, added)) return false;
    }
    return true;
  }
  template <class T, std::size_t n>
  bool get(dom::element json, std::array<T, n>& list) {
    dom::array elements;
    if (json.get(elements) != simdjson::SUCCESS) return wrong("is no array");
    std::size_t i = 0;
    for (const dom::element element : elements) {
      if (i == n) return wrong(fmt::format("has more than {} elements", n));
      const Place place(*this, i);
      if (!get(element, list[i++])) return false;
    }
    return i == n || wrong(fmt::format("has less than {} elements", n));
  }
  template <class T>
  bool get(dom::element json, std::optional<T>& value) {
    if (json.is_null()) return true;
    return get(json, value.emplace());
  }
  bool get(dom::element json, std::unique_ptr<Value>& value) {
    if (json.is_null()) return true;
    value = std::make_unique<Value>();
    return get(json, *value);
  }
  bool get(dom::element json, Value& value) {
    if (depth_ >= kMaxValueDepth) return wrong(fmt::format("is nested more than {} deep", kMaxValueDepth));
    ++depth_;
    const bool good = get_value(json, value);
    --depth_;
    return good;
  }
  template <schema::Described Record>
  bool get(dom::element json, Record& record) {
    dom::object object;
    if (json.get(object) != simdjson::SUCCESS) return wrong("is no object");
    return get_fields(object, record);
  }

  bool wrong(std::string_view what) {
    std::string path;
    for (const auto& [key, index] : places_) path += key ? fmt::format("{}{}", path.empty() ? "" : ".", key) : fmt::format("[{}]", index);
    error_ = path.empty() ? fmt::format("the document {}", what) : fmt::format("{} {}", path, what);
    return false;
  }
  std::string error() const { return error_; }

 private:
  // Where the reader is, while it is there.
  class Place {
   public:
    [[gnu::noinline]] Place(In& in, const char* key) : in_(in) { in_.places_.push_back({key, 0}); }
    [[gnu::noinline]] Place(In& in, std::size_t index) : in_(in) { in_.places_.push_back({nullptr, index}); }
    [[gnu::noinline]] ~Place() { in_.places_.pop_back(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    In& in_;
  };

  template <class Wide, class T>
  bool narrow(Wide wide, T& value) {
    value = static_cast<T>(wide);
    return static_cast<Wide>(value) == wide || wrong(fmt::format("is out of range: {}", wide));
  }

  bool get_value(dom::element json, Value& value) {
    dom::object object;
    std::string_view kind;
    if (json.get(object) != simdjson::SUCCESS) return wrong("is no object");
    if (object["kind"].get(kind) != simdjson::SUCCESS) return wrong("has no \"kind\"");
    return get_kind<0>(object, kind, value);
  }
  template <std::size_t index>
  bool get_kind(dom::object object, std::string_view kind, Value& value) {
    if constexpr (index == std::size(schema::kValueKinds)) {
      return wrong("is of an unknown kind");
    } else {
      if (kind != schema::kValueKinds[index]) return get_kind<index + 1>(object, kind, value);
      return get_fields(object, value.v.template emplace<index>());
    }
  }

  template <class Record>
  bool get_fields(dom::object object, Record& record) {
    bool good = true;
    schema::for_each_field<Record>([&](const auto& field) { good = good && get_field(object, record, field); });
    return good;
  }
  template <class Record, class T>
  bool get_field(dom::object object, Record& record, const schema::Field<Record, T>& field) {
    return get_member(object, field.key, field.rule, record.*field.member);
  }
  template <class T>
  [[gnu::noinline]] bool get_member(const dom::object& object, const char* key, schema::Rule rule, T& member) {
    const Place place(*this, key);
    dom::element json;
    return find(object, key, json) ? get(json, member) : rule != schema::Rule::kAlways || wrong("is missing");
  }
  [[gnu::noinline]] static bool find(const dom::object& object, const char* key, dom::element& json) {
    return object[key].get(json) == simdjson::SUCCESS;
  }
  bool get_field(dom::object object, walkers::bpf::ArenaPage& page, const schema::Numbers& field) {
    const Place place(*this, field.key);
    dom::array numbers;
    if (object[field.key].get(numbers) != simdjson::SUCCESS) return wrong("is missing, or no array");
    for (const dom::element number : numbers) {
      std::uint8_t byte = 0;
      if (!get(number, byte)) return false;
      (page.*field.member).push_back(std::byte{byte});
    }
    return true;
  }

  struct Step {
    const char* key;
    std::size_t index;
  };
  std::vector<Step> places_;
  std::string error_;
  int depth_ = 0;
};

Result<dom::element> parse(dom::parser& parser, std::string_view json) {
  if (const auto allocated = parser.allocate(json.size(), kMaxJsonDepth); allocated != simdjson::SUCCESS)
    return fail(std::string(simdjson::error_message(allocated)));
  dom::element document;
  if (const auto parsed = parser.parse(json.data(), json.size()).get(document); parsed != simdjson::SUCCESS)
    return fail(fmt::format("no JSON: {}", simdjson::error_message(parsed)));
  return document;
}

template <class Shape>
Result<AnyReport> read_shape(dom::element document) {
  In in;
  Shape shape;
  if (!in.get(document, shape)) return fail(in.error());
  return AnyReport(std::move(shape));
}

}  // namespace

Result<AnyReport> parse_report(std::string_view json) {
  dom::parser parser;
  const auto document = parse(parser, json);
  if (!document) return fail(document.error());
  std::string_view shape;
  if (document->at_key("schema").get(shape) != simdjson::SUCCESS) return fail("no failure dump: it has no \"schema\"");
  if (shape == "single") return read_shape<Report>(*document);
  if (shape == "dual") return read_shape<DualReport>(*document);
  if (shape == "degraded") return read_shape<DegradedReport>(*document);
  return fail(fmt::format("no failure dump that this floe knows: schema \"{}\"", shape));
}

Result<Value> parse_value(std::string_view json) {
  dom::parser parser;
  const auto document = parse(parser, json);
  if (!document) return fail(document.error());
  In in;
  Value value;
  if (!in.get(*document, value)) return fail(in.error());
  return value;
}

}  // namespace floe::freeze::dump
