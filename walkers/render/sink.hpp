// Where a rendered value goes, piece by piece: into JSON as it is found (json_sink.hpp), or into a tree (tree.hpp). A map of 100,000
// elements is written without an object per value.
//
// A value is one call (integer() ... unsupported()) or what stands between a begin and its end: in a struct, member() and a value for
// each member; in an array, a value per element; in a deref or truncated, exactly one value. What the parts mean stands in value.hpp.
// Text and bytes belong to the caller and are gone after the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace floe {
class JsonWriter;
}

namespace floe::walkers::render {

class Sink {
 public:
  using Text = std::optional<std::string_view>;

  virtual ~Sink() = default;

  // Of a sink that writes JSON as it comes: whole values may be put there without the calls below.
  virtual JsonWriter* json() { return nullptr; }

  virtual void integer(std::uint32_t bits, std::int64_t value) = 0;
  virtual void unsigned_integer(std::uint32_t bits, std::uint64_t value) = 0;
  virtual void boolean(bool value) = 0;
  virtual void character(std::uint8_t value) = 0;
  virtual void floating(std::uint32_t bits, double value) = 0;
  virtual void enumerator(std::uint32_t bits, std::int64_t value, Text variant, bool is_signed) = 0;

  virtual void begin_struct(Text type_name) = 0;
  virtual void member(std::string_view name) = 0;
  virtual void end_struct() = 0;

  virtual void begin_array(std::uint64_t len) = 0;
  virtual void end_array() = 0;

  virtual void cpu_list(std::string_view cpus) = 0;
  virtual void bytes(std::span<const std::byte> bytes) = 0;
  virtual void unsupported(std::string_view reason) = 0;

  // A pointer whose target is not shown.
  virtual void pointer(std::uint64_t value, Text skipped_reason = {}, Text cast_annotation = {}) = 0;

  // A pointer and its target.
  virtual void begin_deref(std::uint64_t value) = 0;
  virtual void end_deref(Text cast_annotation = {}) = 0;

  virtual void begin_truncated(std::uint64_t needed, std::uint64_t had) = 0;
  virtual void end_truncated() = 0;
};

}  // namespace floe::walkers::render
