// A rendered value as an object that stays: what tests compare, what the dump keeps and what its text is made from.
#pragma once

#include <vector>

#include "walkers/render/sink.hpp"
#include "walkers/render/value.hpp"

namespace floe::walkers::render {

// Builds a Value of what it is told. One value at a time: take() hands it over when its last call is done.
class TreeSink final : public Sink {
 public:
  Value take();

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
  void put(Value::Variant value);    // into what is open
  void begin(Value::Variant value);  // opens
  void end();                        // closes the innermost and puts it into the next

  std::vector<Value> open_;  // outermost first
  Value done_;
};

// Tells `sink` a value as the renderer would have. Recursive: as deep as the value, which the renderer bounds.
void replay(const Value& value, Sink& sink);

// Any value's copy, for what keeps one twice.
Value copy(const Value& value);

}  // namespace floe::walkers::render
