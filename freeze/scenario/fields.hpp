// The keys of one object, asked for one by one, as wire::Reader does it with bytes: after the first mistake everything reads as empty, and
// the mistake is kept with its place, its path and what would be right.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "freeze/scenario/json.hpp"

namespace floe::freeze::scenario {

struct Reading {
  std::string file;
  std::optional<Error> error;

  bool good() const { return !error.has_value(); }
  // The first one counts.
  void wrong(Place place, std::string_view path, std::string_view what);
};

class Fields {
 public:
  // `path` leads to the object: "steps[3]"; empty for the whole file. All outlive this.
  Fields(Reading& reading, const Json& object, std::string path);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::string path(std::string_view key) const;
  void wrong(std::string_view key, std::string_view what);

  // Required where there is no default.
  const Json* value(std::string_view key);
  const Json* object(std::string_view key);
  const Json* list(std::string_view key, std::size_t least, std::size_t most);
  std::string name(std::string_view key, std::size_t most);  // 1 to `most` bytes of text
  std::string text(std::string_view key, std::string_view otherwise);
  std::vector<std::string> words(std::string_view key, std::size_t least);       // a list of texts; may be missing when `least` is 0
  std::vector<std::pair<std::string, std::string>> texts(std::string_view key);  // an object of texts; may be missing
  std::int64_t integer(std::string_view key, std::optional<std::int64_t> otherwise, std::int64_t least, std::int64_t most);
  std::uint64_t number(std::string_view key);  // 64 bits: a number, or text: "0xffff...", "123"
  std::vector<std::byte> hex(std::string_view key, std::size_t most);
  bool truth(std::string_view key, bool otherwise);
  std::chrono::nanoseconds duration(std::string_view key, std::chrono::nanoseconds most);
  std::chrono::nanoseconds duration(std::string_view key, std::chrono::nanoseconds otherwise, std::chrono::nanoseconds most);
  std::size_t choice(std::string_view key, std::span<const std::string_view> allowed, std::optional<std::size_t> otherwise = {});
  // The one key of these that the object has.
  std::string_view one_of(std::span<const std::string_view> keys);

  // All keys were asked for; any other one is a mistake.
  void end();

 private:
  const Json::Member* find(std::string_view key) const;
  const Json* look(std::string_view key, bool required);
  const Json* look(std::string_view key, bool required, Json::Kind kind, std::string_view expected);
  bool fault(const Json& json, std::string_view key, std::string_view expected);

  Reading& reading_;
  const Json& json_;
  std::string path_;
  std::vector<std::string> asked_;
};

}  // namespace floe::freeze::scenario
