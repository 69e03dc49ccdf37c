#include <array>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "base/json_writer.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/dump/schema.hpp"
#include "walkers/render/json_sink.hpp"

namespace floe::freeze::dump {
namespace {

using walkers::render::Value;

template <class T>
bool blank(const T& value) {
  if constexpr (std::is_arithmetic_v<T>)
    return value == T{};
  else if constexpr (requires { value.empty(); })
    return value.empty();
  else
    return false;
}
template <class T>
bool blank(const std::optional<T>& value) {
  return !value;
}
bool blank(const walkers::bpf::ScxStatic& value) {
  return value.ranges.empty() && value.skipped == 0;
}

class Out {
 public:
  void put(bool value) { writer_.boolean(value); }
  void put(double value) { writer_.number(value); }
  template <std::integral T>
  void put(T value) {
    if constexpr (sizeof(T) == 1)
      writer_.number(static_cast<unsigned>(value));
    else
      writer_.number(value);
  }
  void put(const std::string& text) { writer_.string(text); }
  void put(const std::vector<std::byte>& bytes) { writer_.hex(bytes); }
  template <class T>
  void put(const std::vector<T>& list) {
    writer_.begin_array();
    for (const T& element : list) put(element);
    writer_.end_array();
  }
  template <class T, std::size_t n>
  void put(const std::array<T, n>& list) {
    writer_.begin_array();
    for (const T& element : list) put(element);
    writer_.end_array();
  }
  template <class T>
  void put(const std::optional<T>& value) {
    if (value)
      put(*value);
    else
      writer_.null();
  }
  void put(const Value& value) { walkers::render::write(value, writer_); }
  template <schema::Described Record>
  void put(const Record& record) {
    writer_.begin_object();
    put_fields(record);
    writer_.end_object();
  }

  std::string take() { return std::move(writer_).take(); }

 private:
  template <class Record>
  void put_fields(const Record& record) {
    schema::for_each_field<Record>([&](const auto& field) { put_field(record, field); });
  }
  template <class Record, class T>
  void put_field(const Record& record, const schema::Field<Record, T>& field) {
    const T& value = record.*field.member;
    if (field.rule == schema::Rule::kOmitted && blank(value)) return;
    writer_.key(field.key);
    put(value);
  }
  void put_field(const walkers::bpf::ArenaPage& page, const schema::Numbers& field) {
    writer_.key(field.key);
    writer_.begin_array();
    for (const std::byte b : page.*field.member) writer_.number(static_cast<unsigned>(b));
    writer_.end_array();
  }

  JsonWriter writer_;
};

template <class T>
std::string text_of(const T& value) {
  Out out;
  out.put(value);
  return out.take();
}

}  // namespace

std::string to_json(const Report& report) {
  return text_of(report);
}
std::string to_json(const DualReport& report) {
  return text_of(report);
}
std::string to_json(const DegradedReport& report) {
  return text_of(report);
}
std::string to_json(const AnyReport& report) {
  return std::visit([](const auto& shape) { return to_json(shape); }, report);
}
std::string to_json(const Value& value) {
  return text_of(value);
}
std::string to_json(const walkers::bpf::Map& map) {
  return text_of(map);
}

}  // namespace floe::freeze::dump
