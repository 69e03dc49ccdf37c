// Rendered values as the dump's JSON: an object with "kind" and that kind's keys, in the order of docs' tables and of value.hpp.
#pragma once

#include "base/json_writer.hpp"
#include "walkers/render/sink.hpp"
#include "walkers/render/value.hpp"

namespace floe::walkers::render {

class JsonSink final : public Sink {
 public:
  // Each value becomes the next value of `json`, which has to outlive the sink.
  explicit JsonSink(JsonWriter& json) : json_(&json) {}

  JsonWriter* json() override { return json_; }
  void integer(std::uint32_t bits, std::int64_t value) override;
  void unsigned_integer(std::uint32_t bits, std::uint64_t value) override;
  void boolean(bool value) override;
  void character(std::uint8_t value) override;
  void floating(std::uint32_t bits, double value) override;
  void enumerator(std::uint32_t bits, std::int64_t value, Text variant, bool is_signed) override;
  void begin_struct(Text type_name) override;
  void member(std::string_view name) override;
  void end_struct() override;
  void begin_array(std::uint64_t len) override;
  void end_array() override;
  void cpu_list(std::string_view cpus) override;
  void bytes(std::span<const std::byte> bytes) override;
  void unsupported(std::string_view reason) override;
  void pointer(std::uint64_t value, Text skipped_reason, Text cast_annotation) override;
  void begin_deref(std::uint64_t value) override;
  void end_deref(Text cast_annotation) override;
  void begin_truncated(std::uint64_t needed, std::uint64_t had) override;
  void end_truncated() override;

 private:
  void optional_text(std::string_view key, Text text);

  JsonWriter* json_;
  bool first_member_ = false;  // of the struct that is open and has just begun
};

// A tree as the next value of `json`.
void write(const Value& value, JsonWriter& json);

}  // namespace floe::walkers::render
