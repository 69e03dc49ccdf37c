// A JSON text as a tree in which every value and every key knows where it stands, for files that people write and get wrong.
//
// The parser proper is simdjson's; this keeps the places that it forgets. Strict JSON, at most 64 brackets deep, a key once per object.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace floe::freeze::scenario {

// As editors count: both from 1, columns in characters.
struct Place {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
  bool operator==(const Place&) const = default;
};

struct Json {
  enum class Kind { kNull, kBool, kNumber, kText, kList, kObject };
  struct Member;

  Kind kind = Kind::kNull;
  Place place;
  bool truth = false;
  std::string text;  // of a number: as it was written
  std::vector<Json> items;
  std::vector<Member> members;  // in the file's order
};

struct Json::Member {
  std::string key;
  Place place;
  Json value;
};

// What `json` is, for messages: "a list", "the number 3".
std::string describe(const Json& json);

// Errors are "LINE:COLUMN: what is wrong there".
Result<Json> read_json(std::string_view text);

}  // namespace floe::freeze::scenario
