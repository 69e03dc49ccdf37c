#include "walkers/render/json_sink.hpp"

#include "walkers/render/tree.hpp"

namespace floe::walkers::render {
namespace {

constexpr std::size_t kRoom = 128;  // for the fixed text and the numbers of one value

}  // namespace

void JsonSink::integer(std::uint32_t bits, std::int64_t value) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"int","bits":)");
  json_->add_integer(bits);
  json_->add(R"(,"value":)");
  json_->add_integer(value);
  json_->add("}");
  json_->end_value();
}

void JsonSink::unsigned_integer(std::uint32_t bits, std::uint64_t value) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"uint","bits":)");
  json_->add_integer(bits);
  json_->add(R"(,"value":)");
  json_->add_integer(value);
  json_->add("}");
  json_->end_value();
}

void JsonSink::boolean(bool value) {
  json_->raw(value ? R"({"kind":"bool","value":true})" : R"({"kind":"bool","value":false})");
}

void JsonSink::character(std::uint8_t value) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"char","value":)");
  json_->add_integer(unsigned{value});
  json_->add("}");
  json_->end_value();
}

void JsonSink::floating(std::uint32_t bits, double value) {
  json_->begin_object().key("kind").string("float").key("bits").number(bits).key("value").number(value).end_object();
}

void JsonSink::enumerator(std::uint32_t bits, std::int64_t value, Text variant, bool is_signed) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"enum","bits":)");
  json_->add_integer(bits);
  json_->add(R"(,"value":)");
  json_->add_integer(value);
  json_->add(R"(,"variant":)");
  if (variant) {
    json_->add("\"");
    json_->add_string(*variant, kRoom);
    json_->add("\"");
  } else {
    json_->add("null");
  }
  json_->add(is_signed ? R"(,"is_signed":true})" : R"(,"is_signed":false})");
  json_->end_value();
}

void JsonSink::begin_struct(Text type_name) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"struct","type_name":)");
  if (type_name) {
    json_->add("\"");
    json_->add_string(*type_name, kRoom);
    json_->add("\"");
  } else {
    json_->add("null");
  }
  json_->add(R"(,"members":[)");
  json_->end_value(false);
  first_member_ = true;
}

void JsonSink::member(std::string_view name) {
  json_->end_value(false);
  json_->begin_value(kRoom);
  json_->add(first_member_ ? R"({"name":")" : R"(},{"name":")");
  json_->add_string(name, kRoom);
  json_->add(R"(","value":)");
  json_->end_value(false);
  first_member_ = false;
}

void JsonSink::end_struct() {
  json_->end_value(false);
  json_->begin_value(kRoom);
  json_->add(first_member_ ? "]}" : "}]}");
  json_->end_value();
  first_member_ = false;
}

void JsonSink::begin_array(std::uint64_t len) {
  json_->begin_value(kRoom);
  json_->add(R"({"kind":"array","len":)");
  json_->add_integer(len);
  json_->add(R"(,"elements":[)");
  json_->end_value(false);
}

void JsonSink::end_array() {
  json_->end_array().end_object();
}

void JsonSink::cpu_list(std::string_view cpus) {
  json_->begin_object().key("kind").string("cpu_list").key("cpus").string(cpus).end_object();
}

void JsonSink::bytes(std::span<const std::byte> bytes) {
  json_->begin_object().key("kind").string("bytes").key("hex").hex(bytes).end_object();
}

void JsonSink::unsupported(std::string_view reason) {
  json_->begin_object().key("kind").string("unsupported").key("reason").string(reason).end_object();
}

void JsonSink::pointer(std::uint64_t value, Text skipped_reason, Text cast_annotation) {
  json_->begin_object().key("kind").string("ptr").key("value").number(value);
  optional_text("deref_skipped_reason", skipped_reason);
  optional_text("cast_annotation", cast_annotation);
  json_->end_object();
}

void JsonSink::begin_deref(std::uint64_t value) {
  json_->begin_object().key("kind").string("ptr").key("value").number(value).key("deref");
}

void JsonSink::end_deref(Text cast_annotation) {
  optional_text("cast_annotation", cast_annotation);
  json_->end_object();
}

void JsonSink::begin_truncated(std::uint64_t needed, std::uint64_t had) {
  json_->begin_object().key("kind").string("truncated").key("needed").number(needed).key("had").number(had).key("partial");
}

void JsonSink::end_truncated() {
  json_->end_object();
}

void JsonSink::optional_text(std::string_view key, Text text) {
  if (text) json_->key(key).string(*text);
}

void write(const Value& value, JsonWriter& json) {
  JsonSink sink(json);
  replay(value, sink);
}

}  // namespace floe::walkers::render
