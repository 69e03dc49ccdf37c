#include "freeze/dump/value_access.hpp"

#include <charconv>
#include <utility>

namespace floe::freeze::dump {
namespace {

using namespace walkers::render;

constexpr int kMostPeels = 64;  // pointers to pointers to ...

const Value& peel(const Value& value) {
  const Value* at = &value;
  for (int i = 0; i < kMostPeels; ++i) {
    const auto* pointer = std::get_if<Ptr>(&at->v);
    const auto* truncated = std::get_if<Truncated>(&at->v);
    if (pointer != nullptr && pointer->deref)
      at = pointer->deref.get();
    else if (truncated != nullptr && truncated->partial)
      at = truncated->partial.get();
    else
      break;
  }
  return *at;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// An enum's 64 bits as its own width has them.
std::uint64_t enum_bits(const Enum& v) {
  return v.bits >= 64 ? static_cast<std::uint64_t>(v.value) : static_cast<std::uint64_t>(v.value) & ((std::uint64_t{1} << v.bits) - 1);
}

template <class T, class Convert>
std::optional<std::vector<T>> array_of(const Value& value, Convert convert) {
  const auto* array = std::get_if<Array>(&peel(value).v);
  if (array == nullptr) return std::nullopt;
  std::vector<T> all;
  all.reserve(array->elements.size());
  for (const Value& element : array->elements) {
    const auto converted = convert(element);
    if (!converted) return std::nullopt;
    if constexpr (std::is_integral_v<T>) {
      if (!std::in_range<T>(*converted)) return std::nullopt;
    }
    all.push_back(static_cast<T>(*converted));
  }
  return all;
}

}  // namespace

const Value* member(const Value& value, std::string_view name) {
  const auto* found = std::get_if<Struct>(&peel(value).v);
  if (found == nullptr) return nullptr;
  for (const NamedValue& candidate : found->members)
    if (candidate.name == name) return &candidate.value;
  for (const NamedValue& candidate : found->members)
    if (candidate.name.empty())
      if (const Value* inner = member(candidate.value, name)) return inner;
  return nullptr;
}

const Value* index(const Value& value, std::uint64_t at) {
  const auto* array = std::get_if<Array>(&peel(value).v);
  return array != nullptr && at < array->elements.size() ? &array->elements[at] : nullptr;
}

const Value* get(const Value& value, std::string_view path) {
  const Value* at = &value;
  bool more = !path.empty();
  while (more && at != nullptr) {
    const std::size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    more = dot != std::string_view::npos;
    if (more) path.remove_prefix(dot + 1);
    if (part.empty()) return nullptr;
    const Value* next = member(*at, part);
    if (next == nullptr)
      if (const auto n = number(part)) next = index(*at, *n);
    at = next;
  }
  return at;
}

std::optional<std::uint64_t> as_u64(const Value& value) {
  if (const auto* v = std::get_if<Uint>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Bool>(&value.v)) return v->value ? 1 : 0;
  if (const auto* v = std::get_if<Char>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Ptr>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Int>(&value.v); v != nullptr && v->value >= 0) return static_cast<std::uint64_t>(v->value);
  if (const auto* v = std::get_if<Enum>(&value.v); v != nullptr && (!v->is_signed || v->value >= 0)) return enum_bits(*v);
  return std::nullopt;
}

std::optional<std::int64_t> as_i64(const Value& value) {
  if (const auto* v = std::get_if<Int>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Bool>(&value.v)) return v->value ? 1 : 0;
  if (const auto* v = std::get_if<Char>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Enum>(&value.v)) return v->value;
  const auto* v = std::get_if<Uint>(&value.v);
  if (v == nullptr || !std::in_range<std::int64_t>(v->value)) return std::nullopt;
  return static_cast<std::int64_t>(v->value);
}

std::optional<double> as_f64(const Value& value) {
  if (const auto* v = std::get_if<Float>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Int>(&value.v)) return static_cast<double>(v->value);
  if (const auto* v = std::get_if<Uint>(&value.v)) return static_cast<double>(v->value);
  const auto* v = std::get_if<Enum>(&value.v);
  if (v == nullptr) return std::nullopt;
  return v->is_signed ? static_cast<double>(v->value) : static_cast<double>(enum_bits(*v));
}

std::optional<bool> as_bool(const Value& value) {
  if (const auto* v = std::get_if<Bool>(&value.v)) return v->value;
  if (const auto* v = std::get_if<Int>(&value.v)) return v->value != 0;
  if (const auto* v = std::get_if<Uint>(&value.v)) return v->value != 0;
  if (const auto* v = std::get_if<Char>(&value.v)) return v->value != 0;
  if (const auto* v = std::get_if<Enum>(&value.v)) return v->value != 0;
  if (const auto* v = std::get_if<Ptr>(&value.v)) return v->value != 0;
  return std::nullopt;
}

std::optional<std::vector<std::uint64_t>> as_u64_array(const Value& value) {
  return array_of<std::uint64_t>(value, as_u64);
}
std::optional<std::vector<std::int64_t>> as_i64_array(const Value& value) {
  return array_of<std::int64_t>(value, as_i64);
}
std::optional<std::vector<std::uint32_t>> as_u32_array(const Value& value) {
  return array_of<std::uint32_t>(value, as_u64);
}
std::optional<std::vector<std::int32_t>> as_i32_array(const Value& value) {
  return array_of<std::int32_t>(value, as_i64);
}
std::optional<std::vector<double>> as_f64_array(const Value& value) {
  return array_of<double>(value, as_f64);
}

}  // namespace floe::freeze::dump
